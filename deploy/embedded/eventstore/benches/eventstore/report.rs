//! What is printed: one figure, one line.

use serde_json::{Value, json};

pub struct Report {
    pub bench: &'static str,
    pub quick: bool,
}

/// What a figure has to reach.
#[derive(Clone, Copy)]
pub enum Bar {
    /// Value over peer.
    RatioAtLeast(f64),
    RatioAtMost(f64),
    /// The value itself.
    ValueAtMost(f64),
}

pub struct Figure<'a> {
    pub name: &'a str,
    pub unit: &'a str,
    pub values: &'a [f64],
    pub beside: &'a str,
    pub beside_values: &'a [f64],
    pub bar: Bar,
    /// What the sizes were, and what else one has to know to judge the figure.
    pub note: &'a str,
}

impl Report {
    /// Prints the figure, whether or not it holds.
    pub fn print(&self, figure: &Figure) {
        let value = median(figure.values);
        let beside = median(figure.beside_values);
        let ratio = value / beside;
        let (bar, holds) = match figure.bar {
            Bar::RatioAtLeast(least) => (format!(">= {least}"), ratio >= least),
            Bar::RatioAtMost(most) => (format!("<= {most}"), ratio <= most),
            Bar::ValueAtMost(most) => (format!("<= {most} {}", figure.unit), value <= most),
        };
        let mut line = json!({
            "bench": self.bench,
            "figure": figure.name,
            "value": rounded(value),
            "unit": figure.unit,
            "beside": figure.beside,
            "beside_value": rounded(beside),
            "ratio": rounded(ratio),
            "bar": bar,
            "holds": holds,
            "note": figure.note,
        });
        if self.quick {
            line["quick"] = Value::Bool(true);
        }
        println!("{line}");
    }
}

/// The middle one of what was measured, which is never nothing.
pub fn median(values: &[f64]) -> f64 {
    percentile(values, 0.5)
}

fn percentile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len() - 1;
    sorted[(last as f64 * share).round() as usize]
}

/// Four digits: more would pretend to be sure.
fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let scale = 10f64.powf(3.0 - value.abs().log10().floor());
    (value * scale).round() / scale
}
