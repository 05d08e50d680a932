//! Replays `golden.json`: this host's token ids and outputs beside the reference's.

use serde_json::Value;

use crate::bundle::{Bundle, Encoded, Result};

pub struct Report {
    pub cases: usize,
    pub gap: f64,
    pub cosine: f64,
    pub failures: Vec<String>,
}

pub fn replay(bundle: &mut Bundle, golden: &Value) -> Result<Report> {
    let cases = golden["cases"].as_array().map(Vec::as_slice).unwrap_or_default();
    if golden["format"] != 1 || cases.is_empty() {
        return Err("golden.json is not of format 1, or has no case".into());
    }
    let max_abs = golden["tolerance"]["max_abs"].as_f64().unwrap_or(f64::INFINITY);
    let min_cosine = golden["tolerance"]["min_cosine"].as_f64().ok_or("golden.json states no tolerance")?;
    let mut report = Report { cases: cases.len(), gap: 0.0, cosine: 1.0, failures: Vec::new() };
    for (index, stated) in cases.iter().enumerate() {
        let given = Encoded {
            ids: integers(&stated["input_ids"]),
            types: integers(&stated["token_type_ids"]),
            unpooled: integers(&stated["pooling_mask"]).iter().filter(|&&value| value == 0).count(),
        };
        report.failures.extend(id_faults(bundle, stated, &given)?.iter().map(|fault| format!("case {index}: {fault}")));
        let outputs = stated["outputs"].as_object().ok_or("a case states no outputs")?;
        let names: Vec<&str> = outputs.keys().map(String::as_str).collect();
        let rows = bundle.run(&[given], &names)?;
        for (name, want) in outputs {
            let (gap, cosine) = compare(&dense(want), &rows[0][name]);
            report.gap = report.gap.max(gap);
            report.cosine = report.cosine.min(cosine);
            // Not `gap > max_abs`: NaN must fail.
            if !(gap <= max_abs && cosine >= min_cosine) {
                report.failures.push(format!("case {index}: {name} differs by {gap:.2e} (cosine {cosine:.6})"));
            }
        }
    }
    Ok(report)
}

fn id_faults(bundle: &Bundle, stated: &Value, given: &Encoded) -> Result<Vec<String>> {
    let text = stated["text"].as_str().ok_or("a case states no text")?;
    let found = bundle.encode(text, stated["pair"].as_str(), stated["truncated"] == true)?;
    let mut faults = Vec::new();
    if found.ids != given.ids {
        faults.push(format!("token ids differ: {:?}", found.ids));
    }
    // Segment ids count only where the graph reads them.
    if bundle.has_input("token_type_ids") && found.types != given.types {
        faults.push(format!("segment ids differ: {:?}", found.types));
    }
    Ok(faults)
}

/// Largest difference, relative above magnitude 1, and cosine; one number has no direction.
fn compare(want: &[f64], got: &[f32]) -> (f64, f64) {
    if want.len() != got.len() {
        return (f64::INFINITY, -1.0);
    }
    let (mut gap, mut dot, mut left, mut right) = (0.0, 0.0, 0.0, 0.0);
    for (&value, &other) in want.iter().zip(got) {
        let other = f64::from(other);
        let difference = (value - other).abs() / value.abs().max(1.0);
        if difference.is_nan() {
            return (f64::INFINITY, -1.0);
        }
        gap = f64::max(gap, difference);
        dot += value * other;
        left += value * value;
        right += other * other;
    }
    let norms = f64::sqrt(left * right);
    (gap, if want.len() == 1 || norms == 0.0 { 1.0 } else { dot / norms })
}

fn integers(list: &Value) -> Vec<i64> {
    list.as_array().map(Vec::as_slice).unwrap_or_default().iter().filter_map(Value::as_i64).collect()
}

/// An output as the file states it: nested lists, or the non-zero entries of a long vector.
fn dense(stated: &Value) -> Vec<f64> {
    match stated {
        Value::Array(items) => items.iter().flat_map(dense).collect(),
        Value::Object(sparse) => {
            let mut vector = vec![0.0; sparse["size"].as_u64().unwrap_or(0) as usize];
            for (index, value) in integers(&sparse["indices"]).iter().zip(dense(&sparse["values"])) {
                vector[*index as usize] = value;
            }
            vector
        }
        number => vec![number.as_f64().unwrap_or(f64::NAN)],
    }
}
