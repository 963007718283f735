//! Which language a text is written in, as far as stemming needs to know it.
//!
//! Nobody declares the language of a video, so it is looked for: the script tells of some, and where
//! all write Latin letters the small words do ("the", "und", "les"). Statistics over letters need
//! more text than a title has, and know many languages that have no stemmer here.
//!
//! # Invariants
//!
//! * The same text always has the same language: an index that was built anew is the same.
//! * A wrong guess loses inflected forms of that one text, never its words as they are written.

use std::{collections::HashMap, sync::LazyLock};

use frostem::Algorithm;

/// Which of the languages in Latin letters have a small word, a bit for each.
static SMALL_WORDS: LazyLock<HashMap<&'static str, u8>> = LazyLock::new(|| {
    let mut all = HashMap::new();
    for (index, language) in Language::LATIN.iter().enumerate() {
        for word in language.small_words() {
            *all.entry(*word).or_default() |= 1 << index;
        }
    }
    all
});

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    English,
    German,
    French,
    Spanish,
    Italian,
    Portuguese,
    Dutch,
    Swedish,
    Russian,
}

impl Language {
    /// In Latin letters, the likeliest first.
    pub(super) const LATIN: [Self; 8] = [
        Self::English,
        Self::German,
        Self::French,
        Self::Spanish,
        Self::Italian,
        Self::Portuguese,
        Self::Dutch,
        Self::Swedish,
    ];

    pub(super) fn algorithm(self) -> Algorithm {
        match self {
            Self::English => Algorithm::English,
            Self::German => Algorithm::German,
            Self::French => Algorithm::French,
            Self::Spanish => Algorithm::Spanish,
            Self::Italian => Algorithm::Italian,
            Self::Portuguese => Algorithm::Portuguese,
            Self::Dutch => Algorithm::Dutch,
            Self::Swedish => Algorithm::Swedish,
            Self::Russian => Algorithm::Russian,
        }
    }

    /// Words that are frequent in this language and rare in the others; accents are left out.
    fn small_words(self) -> &'static [&'static str] {
        match self {
            Self::English => &[
                "the", "and", "of", "with", "for", "how", "you", "your", "this", "that", "are",
                "what", "from", "we", "is", "it", "to", "by", "at", "our",
            ],
            Self::German => &[
                "und", "der", "das", "ist", "nicht", "mit", "ein", "eine", "einen", "fur", "auf",
                "wie", "wir", "ich", "sie", "zum", "zur", "von", "im", "bei", "dem", "den",
            ],
            Self::French => &[
                "les", "des", "et", "une", "dans", "pour", "avec", "sur", "est", "nous", "vous",
                "du", "au", "aux", "ce", "cette", "sont", "pas", "qui", "comment",
            ],
            Self::Spanish => &[
                "el", "los", "las", "y", "una", "del", "por", "para", "con", "como", "es", "mas",
                "muy", "esta", "este", "nuestro", "nuestra", "hacer", "desde", "sin",
            ],
            Self::Italian => &[
                "il", "gli", "di", "che", "per", "della", "delle", "dei", "con", "sono", "nel",
                "nella", "alla", "questo", "questa", "come", "piu", "dal", "degli", "fare",
            ],
            Self::Portuguese => &[
                "os", "uma", "um", "do", "da", "dos", "nao", "com", "para", "em", "na", "no",
                "mais", "voce", "como", "seu", "sua", "pelo", "pela", "fazer",
            ],
            Self::Dutch => &[
                "het", "een", "van", "en", "niet", "met", "voor", "zijn", "ik", "je", "hoe", "wij",
                "naar", "ook", "op", "dit", "dat", "bij", "uit", "onze",
            ],
            Self::Swedish => &[
                "och", "att", "det", "som", "ett", "inte", "pa", "av", "med", "till", "jag", "vi",
                "hur", "har", "fran", "om", "nar", "kan", "ska", "var",
            ],
            Self::Russian => &[],
        }
    }

    /// What `text` is written in; English where nothing tells.
    ///
    /// `words` are its words, folded.
    pub(super) fn of<'a>(text: &str, words: impl Iterator<Item = &'a str>) -> Self {
        let letters = text.chars().filter(|c| c.is_alphabetic());
        let (cyrillic, other) =
            letters.fold(
                (0_usize, 0_usize),
                |(cyrillic, other), c| match ('\u{400}'..='\u{4ff}').contains(&c) {
                    true => (cyrillic + 1, other),
                    false => (cyrillic, other + 1),
                },
            );
        if cyrillic > other {
            return Self::Russian;
        }
        let mut hits = [0_usize; Self::LATIN.len()];
        for word in words {
            let languages = SMALL_WORDS.get(word).copied().unwrap_or_default();
            for (index, hits) in hits.iter_mut().enumerate() {
                *hits += usize::from(languages >> index & 1);
            }
        }
        // The first of equals: the likeliest.
        let mut best = (Self::English, hits[0]);
        for (language, hits) in Self::LATIN.into_iter().zip(hits) {
            if hits > best.1 {
                best = (language, hits);
            }
        }
        best.0
    }

    /// One letter, for texts that carry their language in front of them.
    pub(super) fn letter(self) -> char {
        match self {
            Self::English => 'e',
            Self::German => 'd',
            Self::French => 'f',
            Self::Spanish => 's',
            Self::Italian => 'i',
            Self::Portuguese => 'p',
            Self::Dutch => 'n',
            Self::Swedish => 'v',
            Self::Russian => 'r',
        }
    }

    pub(super) fn of_letter(letter: char) -> Option<Self> {
        Self::LATIN
            .into_iter()
            .chain([Self::Russian])
            .find(|language| language.letter() == letter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::analysis::words;

    fn of(text: &str) -> Language {
        let words = words(text);
        Language::of(text, words.iter().map(String::as_str))
    }

    #[test]
    fn small_words_and_letters_tell_the_language() {
        for (text, language) in [
            ("How to cook the best pasta", Language::English),
            ("Kochen mit Anna: wie das Brot gelingt", Language::German),
            ("Une journée dans les Alpes", Language::French),
            ("El mejor café de los Andes", Language::Spanish),
            ("Come fare il pane della nonna", Language::Italian),
            (
                "Como fazer pão em casa com a vovó não é difícil",
                Language::Portuguese,
            ),
            ("Hoe bak je een brood van zuurdesem", Language::Dutch),
            ("Hur man bakar bröd och kakor till jul", Language::Swedish),
            ("Как испечь хлеб дома", Language::Russian),
            ("Aurora 4K", Language::English),
            ("", Language::English),
        ] {
            assert_eq!(of(text), language, "{text}");
        }
    }

    #[test]
    fn a_letter_stands_for_one_language() {
        for language in Language::LATIN.into_iter().chain([Language::Russian]) {
            assert_eq!(Language::of_letter(language.letter()), Some(language));
        }
    }
}
