//! What is printed: one figure, one line.

use serde_json::{Value, json};

/// A figure and what stands beside it, with a value per round.
pub struct Figure<'a> {
    pub name: &'a str,
    pub values: &'a [f64],
    pub beside: &'a str,
    pub beside_values: &'a [f64],
    /// Value over peer is at most that.
    pub ratio_max: f64,
    /// What the sizes were, and what else one has to know to judge the figure.
    pub note: &'a str,
    pub quick: bool,
}

impl Figure<'_> {
    /// Prints the figure, whether or not it holds.
    pub fn print(&self) {
        let (value, beside) = (median(self.values), median(self.beside_values));
        let ratio = value / beside;
        let mut line = json!({
            "bench": "search",
            "figure": self.name,
            "value": rounded(value),
            "unit": "ms",
            "beside": self.beside,
            "beside_value": rounded(beside),
            "ratio": rounded(ratio),
            "bar": format!("<= {}", self.ratio_max),
            "holds": ratio <= self.ratio_max,
            "note": self.note,
        });
        if self.quick {
            line["quick"] = Value::Bool(true);
        }
        println!("{line}");
    }
}

/// The middle one of what was measured, which is never nothing.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
