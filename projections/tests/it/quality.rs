//! How good searches are: a judged set, nDCG@10, beside plain BM25.
//!
//! `judged/videos.tsv` has an id, title, description and tags per line; `judged/queries.tsv` a query
//! and the videos that answer it, with grades from 1 (has something to do with it) to 3 (just that).
//! What is not named does not answer it. All videos are of one day and nobody has seen them: it is
//! the words that are judged.

use std::collections::HashMap;

use domain::id::{Owner, VideoId, derived};
use projections::search::{Index, Ranking, Sample, Search};
use tantivy::{
    Index as Bare, TantivyDocument,
    collector::TopDocs,
    query::QueryParser,
    schema::{STORED, STRING, Schema, TEXT, Value},
};

use crate::platform::DAWN_MS;

const VIDEOS: &str = include_str!("judged/videos.tsv");
const QUERIES: &str = include_str!("judged/queries.tsv");

/// Below that, searches have become worse.
const NDCG_MIN: f64 = 0.93;

const FIRST: usize = 10;

struct Query {
    text: &'static str,
    grades: HashMap<&'static str, f64>,
}

fn lines(text: &'static str) -> impl Iterator<Item = Vec<&'static str>> {
    text.lines().map(|line| line.split('\t').collect())
}

fn queries() -> Vec<Query> {
    let grade = |judged: &'static str| {
        let (name, grade) = judged.split_once(':').unwrap();
        (name, grade.parse().unwrap())
    };
    let query = |fields: Vec<&'static str>| Query {
        text: fields[0],
        grades: fields[1].split(' ').map(grade).collect(),
    };
    lines(QUERIES).map(query).collect()
}

/// Gains are 2^grade - 1, discounted by the logarithm of the place.
fn ndcg(query: &Query, found: &[&str]) -> f64 {
    let dcg = |grades: Vec<f64>| -> f64 {
        let places = grades.iter().take(FIRST).enumerate();
        places
            .map(|(place, grade)| (grade.exp2() - 1.0) / (place as f64 + 2.0).log2())
            .sum()
    };
    let grades = found.iter().map(|name| query.grades.get(name).copied());
    let mut best: Vec<f64> = query.grades.values().copied().collect();
    best.sort_by(|a, b| b.total_cmp(a));
    dcg(grades.map(Option::unwrap_or_default).collect()) / dcg(best)
}

fn mean(queries: &[Query], find: impl Fn(&str) -> Vec<&'static str>) -> f64 {
    let sum: f64 = queries
        .iter()
        .map(|query| ndcg(query, &find(query.text)))
        .sum();
    sum / queries.len() as f64
}

fn id(name: &str) -> VideoId {
    VideoId(derived(&[b"judged", name.as_bytes()]))
}

fn ours(dir: &std::path::Path) -> impl Fn(&str) -> Vec<&'static str> {
    let names: HashMap<VideoId, &'static str> = lines(VIDEOS)
        .map(|fields| (id(fields[0]), fields[0]))
        .collect();
    let samples = lines(VIDEOS).map(|fields| Sample {
        id: id(fields[0]),
        owner: Owner("ada".to_owned()),
        title: fields[1].to_owned(),
        description: fields[2].to_owned(),
        tags: fields[3].split(", ").map(str::to_owned).collect(),
        is_public: true,
        created_ms: DAWN_MS,
        duration_ms: 60_000,
        height: 720,
    });
    let index = Index::of_samples(dir, Ranking::default(), samples).unwrap();
    move |text| {
        let search = Search {
            text: text.to_owned(),
            first: FIRST,
            now_ms: DAWN_MS,
            ..Search::default()
        };
        let hits = index.search(&search).unwrap();
        hits.videos.iter().map(|video| names[video]).collect()
    }
}

/// As Tantivy does it by itself.
fn plain() -> impl Fn(&str) -> Vec<&'static str> {
    let mut schema = Schema::builder();
    let name = schema.add_text_field("name", STRING | STORED);
    let texts = ["title", "description", "tags"].map(|field| schema.add_text_field(field, TEXT));
    let index = Bare::create_in_ram(schema.build());
    let mut writer = index.writer_with_num_threads(1, 15_000_000).unwrap();
    for fields in lines(VIDEOS) {
        let mut document = TantivyDocument::default();
        document.add_text(name, fields[0]);
        for (field, text) in texts.iter().zip(&fields[1..]) {
            document.add_text(*field, text);
        }
        writer.add_document(document).unwrap();
    }
    writer.commit().unwrap();
    let searcher = index.reader().unwrap().searcher();
    let parser = QueryParser::for_index(&index, texts.to_vec());
    let names: Vec<&'static str> = lines(VIDEOS).map(|fields| fields[0]).collect();
    move |text| {
        let query = parser.parse_query_lenient(text).0;
        let best = TopDocs::with_limit(FIRST).order_by_score();
        let found = searcher.search(&query, &best).unwrap();
        let found = found.into_iter().map(|(_, address)| {
            let document: TantivyDocument = searcher.doc(address).unwrap();
            let found = document
                .get_first(name)
                .unwrap()
                .as_str()
                .unwrap()
                .to_owned();
            *names.iter().find(|name| **name == found).unwrap()
        });
        found.collect()
    }
}

#[test]
fn searches_are_as_good_as_they_were_and_better_than_plain_bm25() {
    let dir = tempfile::TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let queries = queries();
    assert!(queries.len() >= 40 && lines(VIDEOS).count() >= 200);
    let ours = ours(dir.path());
    let (our, plain) = (mean(&queries, &ours), mean(&queries, plain()));
    println!("nDCG@{FIRST}: {our:.3}, plain BM25: {plain:.3}");
    let worst: Vec<(String, &str)> = queries
        .iter()
        .map(|query| (format!("{:.2}", ndcg(query, &ours(query.text))), query.text))
        .filter(|(ndcg, _)| ndcg.as_str() < "0.90")
        .collect();
    println!("below 0.90: {worst:?}");
    assert!(our >= NDCG_MIN, "nDCG@{FIRST} is {our:.3}: {worst:?}");
    assert!(our > plain, "plain BM25 has {plain:.3}, ours {our:.3}");
}
