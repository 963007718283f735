//! What a search finds: the text as a query of the index, and its answer.

use std::collections::BTreeMap;

use domain::id::{Owner, VideoId};
use tantivy::{
    Searcher, Term,
    query::{
        AllQuery, BooleanQuery, BoostQuery, ConstScoreQuery, Occur, PhraseQuery, Query, TermQuery,
    },
    schema::{Field, IndexRecordOption},
};

use super::{
    analysis,
    asked::Asked,
    best::Best,
    highlight::Marker,
    ranking::Factors,
    schema::Fields,
    sight::{Filter, Sight},
    spelling::Dictionary,
    statistics::Alive,
    tally::{Facets, Tally},
};

/// What a word counts that is there in another form of the same stem.
const STEM: f32 = 0.6;

/// What a word counts that may have been meant.
const NEAR: f32 = 0.5;

/// The part of a text that is looked at.
pub const QUERY_CHARS_MAX: usize = 200;

pub const PAGE_MAX: usize = 100;

/// How far a list of hits can be followed.
pub const OFFSET_MAX: usize = 10_000;

/// What is looked for, by whom.
#[derive(Debug, Clone, Default)]
pub struct Search {
    pub text: String,
    /// The text is being typed: each of its words is the beginning of one in title or tags, and all
    /// of them are there.
    pub as_you_type: bool,
    pub viewer: Option<Owner>,
    pub filter: Filter,
    pub offset: usize,
    pub first: usize,
    /// Whether the total is asked for; all that fits is gone through then.
    pub total: bool,
    pub facets: bool,
    /// The moment that ages are reckoned from. Pages fit together while it is the same.
    pub now_ms: i64,
}

/// One page of hits, best first. The caller loads the videos and still checks who may see them:
/// the index may be a moment behind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hits {
    pub videos: Vec<VideoId>,
    pub has_next: bool,
    pub total: Option<usize>,
    pub facets: Option<Facets>,
    pub marker: Marker,
}

pub(super) fn search(
    searcher: &Searcher,
    fields: Fields,
    search: &Search,
    factors: Factors<'_>,
) -> anyhow::Result<Hits> {
    let Some((query, marker)) = understood(searcher, fields, search)? else {
        return Ok(Hits {
            total: search.total.then_some(0),
            facets: search.facets.then(Facets::default),
            ..Hits::default()
        });
    };
    let viewer = search.viewer.as_ref();
    let mut hits = Hits {
        marker,
        ..Hits::default()
    };
    let first = search.first.min(PAGE_MAX);
    if first > 0 && search.offset <= OFFSET_MAX {
        // One more, to know whether there is a next page.
        let places_max = search.offset + first + 1;
        let best = Best::new(places_max, viewer, &search.filter, factors);
        let alive = Alive { searcher, fields };
        let places = searcher.search_with_statistics_provider(&query, &best, &alive)?;
        hits.has_next = places.len() == places_max;
        let page = places.iter().skip(search.offset).take(first);
        hits.videos = page.map(|place| place.video).collect();
    }
    if search.total || search.facets {
        let tally = Tally {
            viewer,
            filter: &search.filter,
            facets: search.facets,
        };
        let tallied = searcher.search(&query, &tally)?;
        hits.total = Some(tallied.total);
        hits.facets = search.facets.then_some(tallied.facets);
    }
    Ok(hits)
}

/// The query, and what of a text it finds; `None` if nothing is asked for.
fn understood(
    searcher: &Searcher,
    fields: Fields,
    search: &Search,
) -> anyhow::Result<Option<(BooleanQuery, Marker)>> {
    let text: String = search.text.chars().take(QUERY_CHARS_MAX).collect();
    let sights = searcher
        .segment_readers()
        .iter()
        .map(|segment| Sight::new(segment, search.viewer.as_ref(), &Filter::default()))
        .collect::<tantivy::Result<Vec<Sight>>>()?;
    let dictionary = |field| Dictionary {
        searcher,
        field,
        sights: &sights,
    };
    let (mut clauses, marker) = if search.as_you_type {
        typed(&dictionary(fields.beginnings), &text)?
    } else {
        let asked = Asked::of(&text);
        if asked.wants_nothing() {
            // Filters alone find all that fits them.
            everything(fields, search, &asked)
        } else {
            written(&dictionary(fields.words), asked)?
        }
    };
    if clauses.is_empty() {
        return Ok(None);
    }
    narrow(&mut clauses, fields, &search.filter);
    Ok(Some((BooleanQuery::new(clauses), marker)))
}

type Clauses = Vec<(Occur, Box<dyn Query>)>;

fn everything(fields: Fields, search: &Search, asked: &Asked) -> (Clauses, Marker) {
    if search.filter.is_empty() {
        return (vec![], Marker::default());
    }
    let mut clauses: Clauses = vec![(Occur::Must, Box::new(AllQuery))];
    exclude(&mut clauses, fields.words, &asked.without);
    (clauses, Marker::default())
}

/// Words as they are, in other forms, and where nobody wrote them, what may have been meant.
fn written(dictionary: &Dictionary<'_>, asked: Asked) -> anyhow::Result<(Clauses, Marker)> {
    let field = dictionary.field;
    let mut weights: BTreeMap<String, f32> = BTreeMap::new();
    let mut weigh = |form: String, weight: f32| {
        let known = weights.entry(form).or_default();
        *known = known.max(weight);
    };
    for word in asked.words {
        let stems = analysis::stems(&word);
        let mut is_known = dictionary.knows(&word)?;
        for stem in &stems {
            is_known = is_known || dictionary.knows(stem)?;
        }
        if !is_known {
            for near in dictionary.near(&word)? {
                weigh(near, NEAR);
            }
        }
        for stem in stems {
            weigh(stem, STEM);
        }
        weigh(word, 1.0);
    }
    let mut marker = Marker::default();
    let mut clauses: Clauses = vec![];
    for (form, weight) in weights {
        let query = term(field, &form, IndexRecordOption::WithFreqs);
        clauses.push((Occur::Should, Box::new(BoostQuery::new(query, weight))));
        marker.forms.insert(form);
    }
    for phrase in asked.phrases {
        clauses.push((Occur::Must, exactly(field, &phrase)));
        marker.forms.extend(phrase);
    }
    exclude(&mut clauses, field, &asked.without);
    Ok((clauses, marker))
}

/// Beginnings of words, all of them.
fn typed(dictionary: &Dictionary<'_>, text: &str) -> anyhow::Result<(Clauses, Marker)> {
    let mut marker = Marker::default();
    let mut clauses: Clauses = vec![];
    for word in analysis::words(text).iter().take(super::asked::WORDS_MAX) {
        let word = analysis::beginning(word);
        let near = match dictionary.knows(word)? {
            true => vec![],
            false => dictionary.near(word)?,
        };
        let option = IndexRecordOption::WithFreqs;
        if near.is_empty() {
            clauses.push((Occur::Must, term(dictionary.field, word, option)));
            marker.beginnings.push(word.to_owned());
            continue;
        }
        let queries = near.iter().map(|near| term(dictionary.field, near, option));
        clauses.push((
            Occur::Must,
            Box::new(BooleanQuery::union(queries.collect())),
        ));
        marker.beginnings.extend(near);
    }
    Ok((clauses, marker))
}

fn exclude(clauses: &mut Clauses, field: Field, without: &[Vec<String>]) {
    for phrase in without {
        // Twice, as a union: Tantivy may not ask a phrase by itself what it excludes where it is
        // nowhere (an assertion of its phrase scorer fails).
        let both = vec![exactly(field, phrase), exactly(field, phrase)];
        clauses.push((Occur::MustNot, Box::new(BooleanQuery::union(both))));
    }
}

/// Filters of which the index has lists; the others are columns, looked at on the way.
fn narrow(clauses: &mut Clauses, fields: Fields, filter: &Filter) {
    let owner = filter.owner.as_ref().map(|owner| fields.owner(owner));
    let tags = filter.tags.iter().map(|tag| fields.tag(tag));
    let terms: Vec<Term> = owner.into_iter().chain(tags).collect();
    if terms.is_empty() {
        return;
    }
    let asks_words = clauses
        .iter()
        .any(|(occur, query)| *occur != Occur::MustNot && !query.is::<AllQuery>());
    // Decides what is found, not how well it fits; unless there is nothing else.
    let score = if asks_words { 0.0 } else { 1.0 };
    let found = std::mem::take(clauses);
    clauses.push((Occur::Must, Box::new(BooleanQuery::new(found))));
    for term in terms {
        let query = Box::new(TermQuery::new(term, IndexRecordOption::Basic));
        clauses.push((Occur::Must, Box::new(ConstScoreQuery::new(query, score))));
    }
}

/// The words one after the other.
fn exactly(field: Field, phrase: &[String]) -> Box<dyn Query> {
    if let [word] = phrase {
        return term(field, word, IndexRecordOption::WithFreqs);
    }
    let terms = phrase.iter().map(|word| Term::from_field_text(field, word));
    Box::new(PhraseQuery::new(terms.collect()))
}

fn term(field: Field, word: &str, option: IndexRecordOption) -> Box<dyn Query> {
    Box::new(TermQuery::new(Term::from_field_text(field, word), option))
}
