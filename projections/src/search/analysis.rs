//! Texts as words: split, in lower case, without accents; each with its stem; and their beginnings.
//!
//! # Invariants
//!
//! * Documents and queries go through the same steps, or nothing would be found.
//! * A word stands in the index as it is written, and its stem beside it where that differs, at the
//!   same place: who asks for exactly the word fits better, and phrases are of words as written.

use frostem::Stemmer;
use tantivy::{
    Index,
    tokenizer::{
        AsciiFoldingFilter, BoxTokenStream, LowerCaser, RemoveLongFilter, SimpleTokenizer,
        TextAnalyzer, Token, TokenStream, Tokenizer,
    },
};

use super::language::Language;

/// Texts that carry their language in front.
pub(super) const WORDS: &str = "kinolog_words";
/// Texts as they are, word by word, from their first letter on.
pub(super) const BEGINNINGS: &str = "kinolog_beginnings";

const WORD_BYTES_MAX: usize = 60;

/// What is typed beyond that is not looked at: hardly any word has so long a beginning in common with another.
pub(super) const BEGINNING_CHARS_MAX: usize = 10;

pub(super) fn register(index: &Index) {
    let tokenizers = index.tokenizers();
    tokenizers.register(WORDS, TextAnalyzer::from(Words { folded: folded() }));
    tokenizers.register(
        BEGINNINGS,
        TextAnalyzer::from(Beginnings { folded: folded() }),
    );
}

fn folded() -> TextAnalyzer {
    TextAnalyzer::builder(SimpleTokenizer::default())
        .filter(RemoveLongFilter::limit(WORD_BYTES_MAX))
        .filter(LowerCaser)
        .filter(AsciiFoldingFilter)
        .build()
}

/// A word of a text, and the bytes it takes there.
pub(super) struct Spot {
    pub word: String,
    pub from: usize,
    pub to: usize,
}

/// The words of `text`, as they stand in the index.
pub(super) fn spots(text: &str) -> Vec<Spot> {
    let mut analyzer = folded();
    let mut stream = analyzer.token_stream(text);
    let mut spots = vec![];
    while stream.advance() {
        let token = stream.token();
        spots.push(Spot {
            word: token.text.clone(),
            from: token.offset_from,
            to: token.offset_to,
        });
    }
    spots
}

pub(super) fn words(text: &str) -> Vec<String> {
    spots(text).into_iter().map(|spot| spot.word).collect()
}

/// The stems that `word` has in any language, without the word itself: nobody says which language a
/// question is asked in.
pub(super) fn stems(word: &str) -> Vec<String> {
    let is_cyrillic = word.chars().any(|c| ('\u{400}'..='\u{4ff}').contains(&c));
    let languages: &[Language] = match is_cyrillic {
        true => &[Language::Russian],
        false => &Language::LATIN,
    };
    let mut stems = vec![];
    for language in languages {
        let stem = Stemmer::new(language.algorithm()).stem(word).into_owned();
        if stem != word && !stem.is_empty() && !stems.contains(&stem) {
            stems.push(stem);
        }
    }
    stems
}

/// What is looked for when `word` is typed and not yet ended.
pub(super) fn beginning(word: &str) -> &str {
    match word.char_indices().nth(BEGINNING_CHARS_MAX) {
        Some((end, _)) => &word[..end],
        None => word,
    }
}

#[derive(Clone)]
struct Words {
    folded: TextAnalyzer,
}

struct WordStream<'a> {
    words: BoxTokenStream<'a>,
    stemmer: Stemmer,
    /// The stem of the word before, where it differs.
    stem: Option<Token>,
    is_stem: bool,
}

impl Tokenizer for Words {
    type TokenStream<'a> = WordStream<'a>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> WordStream<'a> {
        let mut rest = text.chars();
        let language = rest.next().and_then(Language::of_letter);
        WordStream {
            words: self.folded.token_stream(rest.as_str()),
            stemmer: Stemmer::new(language.unwrap_or(Language::English).algorithm()),
            stem: None,
            is_stem: false,
        }
    }
}

impl TokenStream for WordStream<'_> {
    fn advance(&mut self) -> bool {
        if !self.is_stem && self.stem.is_some() {
            self.is_stem = true;
            return true;
        }
        self.is_stem = false;
        self.stem = None;
        if !self.words.advance() {
            return false;
        }
        let word = self.words.token();
        let stem = self.stemmer.stem(&word.text);
        if *stem != word.text && !stem.is_empty() {
            self.stem = Some(Token {
                text: stem.into_owned(),
                ..*word
            });
        }
        true
    }

    fn token(&self) -> &Token {
        match &self.stem {
            Some(stem) if self.is_stem => stem,
            Some(_) | None => self.words.token(),
        }
    }

    fn token_mut(&mut self) -> &mut Token {
        match &mut self.stem {
            Some(stem) if self.is_stem => stem,
            Some(_) | None => self.words.token_mut(),
        }
    }
}

#[derive(Clone)]
struct Beginnings {
    folded: TextAnalyzer,
}

struct BeginningStream<'a> {
    words: BoxTokenStream<'a>,
    /// The part of the current word that was given last.
    beginning: Token,
}

impl Tokenizer for Beginnings {
    type TokenStream<'a> = BeginningStream<'a>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> BeginningStream<'a> {
        BeginningStream {
            words: self.folded.token_stream(text),
            beginning: Token::default(),
        }
    }
}

impl TokenStream for BeginningStream<'_> {
    fn advance(&mut self) -> bool {
        let given = self.beginning.text.len();
        let word = &self.words.token().text;
        let next = word[given.min(word.len())..].chars().next();
        if let Some(next) = next
            && given > 0
            && self.beginning.text.chars().count() < BEGINNING_CHARS_MAX
        {
            self.beginning.text.push(next);
            return true;
        }
        if !self.words.advance() {
            return false;
        }
        let word = self.words.token();
        let first = word.text.chars().next();
        self.beginning.text.clear();
        self.beginning.text.extend(first);
        self.beginning.position = word.position;
        true
    }

    fn token(&self) -> &Token {
        &self.beginning
    }

    fn token_mut(&mut self) -> &mut Token {
        &mut self.beginning
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(tokenizer: impl Tokenizer, text: &str) -> Vec<(usize, String)> {
        let mut analyzer = TextAnalyzer::from(tokenizer);
        let mut stream = analyzer.token_stream(text);
        let mut tokens = vec![];
        while stream.advance() {
            tokens.push((stream.token().position, stream.token().text.clone()));
        }
        tokens
    }

    #[test]
    fn a_stem_stands_where_its_word_stands() {
        let words = Words { folded: folded() };
        let expected = [
            (0, "running"),
            (0, "run"),
            (1, "uber"),
            (2, "alps"),
            (2, "alp"),
        ];
        let expected = expected.map(|(position, word)| (position, word.to_owned()));
        assert_eq!(tokens(words, "eRunning über Alps"), expected);
    }

    #[test]
    fn a_word_is_found_by_each_of_its_beginnings() {
        let beginnings = Beginnings { folded: folded() };
        let found: Vec<String> = tokens(beginnings, "Sea örtlichkeiten")
            .into_iter()
            .map(|(_, word)| word)
            .collect();
        assert_eq!(found[..5], ["s", "se", "sea", "o", "or"]);
        assert_eq!(found.last().unwrap(), beginning("ortlichkeiten"));
        assert_eq!(found.len(), 3 + BEGINNING_CHARS_MAX);
    }

    #[test]
    fn a_word_meets_its_inflected_forms_in_its_own_language() {
        for (language, one, other) in [
            ('e', "running", "runs"),
            ('d', "hauser", "hausern"),
            ('f', "montagne", "montagnes"),
            ('s', "canciones", "cancion"),
            ('r', "хлеба", "хлеб"),
        ] {
            let words = Words { folded: folded() };
            let indexed = tokens(words, &format!("{language}{one}"));
            let asked = stems(other).into_iter().chain([other.to_owned()]);
            let meets = asked.into_iter().any(|form| indexed.contains(&(0, form)));
            assert!(meets, "{other} does not find {one}: {indexed:?}");
        }
    }
}
