//! A bundle: token ids in, the graph's named outputs out, and what the host has left to do.

use std::collections::HashMap;
use std::error::Error;
use std::fs;
use std::path::Path;

use ort::session::Session;
use ort::value::Tensor;
use serde_json::Value;
use tokenizers::{Tokenizer, TruncationParams};

pub type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// The asked-for outputs of one text, flat and without padding.
pub type Row = HashMap<String, Vec<f32>>;

const BATCH: usize = 16;

/// Token ids and segment ids of one text; `unpooled` leading tokens stay out of pooling.
#[derive(Clone, Default)]
pub struct Encoded {
    pub ids: Vec<i64>,
    pub types: Vec<i64>,
    pub unpooled: usize,
}

pub struct Bundle {
    inputs: Vec<String>,
    /// Name of each output, and whether it has a row a token.
    outputs: HashMap<String, bool>,
    session: Session,
    tokenizer: Tokenizer,
    cutting: Tokenizer,
    max_length: usize,
}

/// Read a JSON file.
pub fn read_json(path: &Path) -> Result<Value> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(serde_json::from_str(&text)?)
}

fn names(list: &Value) -> Vec<String> {
    let items = list.as_array().map(Vec::as_slice).unwrap_or_default();
    items.iter().filter_map(|item| item["name"].as_str().map(str::to_owned)).collect()
}

impl Bundle {
    /// Open the float32 graph and the tokenizer of a folder.
    pub fn open(folder: &Path) -> Result<Self> {
        let manifest = read_json(&folder.join("pool_export.json"))?;
        let graph = &manifest["graphs"]["fp32"];
        let (Some(1), Some(file)) = (manifest["format"].as_u64(), graph["files"][0]["path"].as_str()) else {
            return Err("this program reads bundles of format 1, and their fp32 graph".into());
        };
        let max_length = manifest["tokenizer"]["max_length"].as_u64().ok_or("no max_length")? as usize;
        let tokenizer = Tokenizer::from_file(folder.join("tokenizer.json"))?;
        let mut cutting = tokenizer.clone();
        cutting.with_truncation(Some(TruncationParams { max_length, ..Default::default() }))?;
        let per_token = |name: &String| {
            let infos = graph["outputs"].as_array().map(Vec::as_slice).unwrap_or_default();
            infos.iter().any(|info| info["name"] == **name && info["shape"][1] == "sequence_length")
        };
        Ok(Self {
            inputs: names(&graph["inputs"]),
            outputs: names(&graph["outputs"]).into_iter().map(|name| (name.clone(), per_token(&name))).collect(),
            // By its path, so that onnxruntime finds external data (model.onnx_data) beside it.
            session: Session::builder()?.commit_from_file(folder.join(file))?,
            tokenizer,
            cutting,
            max_length,
        })
    }

    pub fn has_input(&self, name: &str) -> bool {
        self.inputs.iter().any(|input| input == name)
    }

    /// Token ids of a text, or of a pair; over-long input is an error unless it may be cut.
    pub fn encode(&self, text: &str, pair: Option<&str>, truncate: bool) -> Result<Encoded> {
        let tokenizer = if truncate { &self.cutting } else { &self.tokenizer };
        let found = match pair {
            Some(pair) => tokenizer.encode((text, pair), true)?,
            None => tokenizer.encode(text, true)?,
        };
        if found.len() > self.max_length {
            return Err(format!("{} tokens; the model takes {}", found.len(), self.max_length).into());
        }
        let wide = |values: &[u32]| values.iter().map(|&value| i64::from(value)).collect();
        Ok(Encoded { ids: wide(found.get_ids()), types: wide(found.get_type_ids()), unpooled: 0 })
    }

    /// Run texts in batches; the named outputs of each.
    pub fn run(&mut self, texts: &[Encoded], wanted: &[&str]) -> Result<Vec<Row>> {
        if let Some(unknown) = wanted.iter().find(|name| !self.outputs.contains_key(**name)) {
            return Err(format!("the graph has no output {unknown}").into());
        }
        let mut rows = Vec::with_capacity(texts.len());
        for batch in texts.chunks(BATCH) {
            rows.extend(self.run_batch(batch, wanted)?);
        }
        Ok(rows)
    }

    fn run_batch(&mut self, batch: &[Encoded], wanted: &[&str]) -> Result<Vec<Row>> {
        let width = batch.iter().map(|text| text.ids.len()).max().unwrap_or(0).max(1);
        let mut feeds = Vec::with_capacity(self.inputs.len());
        for name in &self.inputs {
            feeds.push((name.as_str(), feed(name, batch, width)?));
        }
        let outputs = self.session.run(feeds)?;
        let mut rows = vec![Row::new(); batch.len()];
        for &name in wanted {
            let (_, data) = outputs[name].try_extract_tensor::<f32>()?;
            let size = data.len() / batch.len();
            for ((row, text), values) in rows.iter_mut().zip(batch).zip(data.chunks(size)) {
                let length = if self.outputs[name] { size / width * text.ids.len() } else { size };
                row.insert(name.to_owned(), values[..length].to_vec());
            }
        }
        Ok(rows)
    }
}

/// One input; what lies behind a text stays 0, which the mask hides.
fn feed(name: &str, batch: &[Encoded], width: usize) -> Result<Tensor<i64>> {
    let mut values = vec![0; batch.len() * width];
    for (row, text) in values.chunks_mut(width).zip(batch) {
        for (at, value) in row.iter_mut().take(text.ids.len()).enumerate() {
            *value = match name {
                "input_ids" => text.ids[at],
                "attention_mask" => 1,
                "token_type_ids" => text.types[at],
                "pooling_mask" => i64::from(at >= text.unpooled),
                _ => return Err(format!("the graph has an unknown input {name}").into()),
            };
        }
    }
    Ok(Tensor::from_array(([batch.len(), width], values))?)
}

/// The first numbers of a Matryoshka vector, scaled to length 1 again.
pub fn shorten(vector: &[f32], dimensions: usize) -> Vec<f32> {
    let cut = &vector[..dimensions.min(vector.len())];
    let norm = cut.iter().map(|value| value * value).sum::<f32>().sqrt().max(1e-12);
    cut.iter().map(|value| value / norm).collect()
}
