//! What a search finds, and in which order.

use anyhow::Context;
use domain::id::{Owner, VideoId};
use tantivy::{
    Order, Searcher, TantivyDocument, Term,
    collector::{
        Count, TopDocs,
        sort_key::{SortBySimilarityScore, SortByStaticFastValue},
    },
    query::{BooleanQuery, ConstScoreQuery, Occur, Query, QueryParser, TermQuery},
    schema::{Field, IndexRecordOption, Value},
};

use super::{
    Hits, OFFSET_MAX, PAGE_MAX, QUERY_CHARS_MAX,
    documents::{Fields, public, yes_or_no},
    statistics::Alive,
};

const TITLE_BOOST: f32 = 3.0;
const TAGS_BOOST: f32 = 2.0;

pub(super) fn search(
    searcher: &Searcher,
    fields: Fields,
    text: &str,
    viewer: Option<&Owner>,
    offset: usize,
    first: usize,
) -> anyhow::Result<Hits> {
    let text: String = text.chars().take(QUERY_CHARS_MAX).collect();
    if text.trim().is_empty() {
        return Ok(Hits {
            videos: vec![],
            total: 0,
        });
    }
    let query = BooleanQuery::new(vec![
        (Occur::Must, asked(searcher, fields, &text)),
        // Decides who may find it, not how well it fits.
        (
            Occur::Must,
            Box::new(ConstScoreQuery::new(findable(fields, viewer), 0.0)),
        ),
    ]);
    let first = first.min(PAGE_MAX);
    if first == 0 || offset > OFFSET_MAX {
        let total = searcher.search(&query, &Count)?;
        return Ok(Hits {
            videos: vec![],
            total,
        });
    }
    // Of equals the newer comes first, so that every replica shows the same order.
    let order = TopDocs::with_limit(first).and_offset(offset).order_by((
        SortBySimilarityScore,
        (
            SortByStaticFastValue::<i64>::for_field("created"),
            Order::Desc,
        ),
    ));
    let alive = Alive { searcher, fields };
    let (found, total) =
        searcher.search_with_statistics_provider(&query, &(order, Count), &alive)?;
    let videos = found
        .into_iter()
        .map(|(_, address)| {
            let document: TantivyDocument = searcher.doc(address)?;
            let id = document
                .get_first(fields.id)
                .and_then(|value| value.as_str())
                .context("a document without an id")?;
            Ok(id.parse::<VideoId>()?)
        })
        .collect::<anyhow::Result<_>>()?;
    Ok(Hits { videos, total })
}

/// What the text says, as far as it can be understood.
fn asked(searcher: &Searcher, fields: Fields, text: &str) -> Box<dyn Query> {
    let Fields {
        title,
        description,
        tags,
        ..
    } = fields;
    let mut parser = QueryParser::for_index(searcher.index(), vec![title, tags, description]);
    parser.set_field_boost(title, TITLE_BOOST);
    parser.set_field_boost(tags, TAGS_BOOST);
    parser.parse_query_lenient(text).0
}

/// Public and playable, or the viewer's own.
fn findable(fields: Fields, viewer: Option<&Owner>) -> Box<dyn Query> {
    let listed = BooleanQuery::intersection(vec![
        is(fields.visibility, public()),
        is(fields.playable, yes_or_no(true)),
    ]);
    match viewer {
        None => Box::new(listed),
        Some(owner) => Box::new(BooleanQuery::union(vec![
            Box::new(listed),
            is(fields.owner, &owner.0),
        ])),
    }
}

fn is(field: Field, word: &str) -> Box<dyn Query> {
    Box::new(TermQuery::new(
        Term::from_field_text(field, word),
        IndexRecordOption::Basic,
    ))
}
