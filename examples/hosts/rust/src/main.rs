//! Runs a bundle of pool-export: embed, classify, score, replay.

mod bundle;
mod replay;

use std::path::Path;
use std::process::ExitCode;

use bundle::{Bundle, Encoded, Result, read_json, shorten};

const USAGE: &str = "bundlehost embed    BUNDLE DIMENSIONS TEXT...   (DIMENSIONS 0: all)
bundlehost classify BUNDLE TEXT...
bundlehost score    BUNDLE QUERY DOCUMENT...
bundlehost replay   BUNDLE
ORT_DYLIB_PATH names the shared library (libonnxruntime.so)";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<ExitCode> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["embed", folder, dimensions, texts @ ..] if !texts.is_empty() => {
            show(folder, "sentence_embedding", texts, None, dimensions.parse()?)?;
        }
        ["classify", folder, texts @ ..] if !texts.is_empty() => show(folder, "probs", texts, None, 0)?,
        ["score", folder, query, texts @ ..] if !texts.is_empty() => show(folder, "probs", texts, Some(query), 0)?,
        ["replay", folder] => return verdict(Path::new(folder)),
        _ => {
            eprintln!("{USAGE}");
            return Ok(ExitCode::from(2));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Print one output of every text; with a query, of every pair.
fn show(folder: &str, output: &str, texts: &[&str], query: Option<&str>, dimensions: usize) -> Result<()> {
    let mut bundle = Bundle::open(Path::new(folder))?;
    let encoded: Result<Vec<Encoded>> = texts
        .iter()
        .map(|text| match query {
            Some(query) => bundle.encode(query, Some(text), false),
            None => bundle.encode(text, None, false),
        })
        .collect();
    for row in bundle.run(&encoded?, &[output])? {
        let values = &row[output];
        println!("{:?}", if dimensions > 0 { shorten(values, dimensions) } else { values.clone() });
    }
    Ok(())
}

fn verdict(folder: &Path) -> Result<ExitCode> {
    let golden = read_json(&folder.join("golden.json"))?;
    let report = replay::replay(&mut Bundle::open(folder)?, &golden)?;
    for line in &report.failures {
        eprintln!("{line}");
    }
    if let Some(images) = golden["images"].as_array() {
        eprintln!("{} images not replayed: this program reads texts", images.len());
    }
    let word = if report.failures.is_empty() { "passed" } else { "FAILED" };
    println!("{word}: {} cases, max-abs {:.2e}, min cosine {:.7}", report.cases, report.gap, report.cosine);
    Ok(if report.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
