//! Masks the words of a list in what people say.
//!
//! Case, width and accents of the same letter do not matter, in the list or in the
//! text: both are folded (compatibility decomposition, then lower case) before
//! they are compared. Every occurrence is masked, also those that overlap.

use std::path::Path;

use aho_corasick::AhoCorasick;
use chassis::ReadError;
use unicode_normalization::UnicodeNormalization;

/// Words that a list may have.
const WORDS_MAX: usize = 100_000;
/// Bytes that a list may have.
const LIST_LEN_MAX: u64 = 64 << 20;
/// Longest word, in characters.
const WORD_LEN_MAX: usize = 200;
/// Stands for each masked character.
const MASK: char = '*';

/// A list of words, ready to be looked for.
#[derive(Clone, Debug)]
pub(crate) struct WordFilter {
    words: AhoCorasick,
}

/// Why a list is refused. One line that names the file and the line.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WordListError {
    #[error(transparent)]
    Unreadable(#[from] ReadError),
    #[error("{file}:{line}: the word {problem}")]
    Word { file: String, line: usize, problem: &'static str },
    #[error("{file}: {problem}")]
    List { file: String, problem: String },
}

impl WordFilter {
    /// Reads a list: one word or phrase a line, `#` begins a comment line.
    ///
    /// # Errors
    ///
    /// The file cannot be read or is not UTF-8; a word is longer than 200
    /// characters or is nothing but marks; there are more than 100 000 words.
    pub(crate) fn read(path: &Path) -> Result<Self, WordListError> {
        Self::parse(&path.display().to_string(), &chassis::read_text(path, LIST_LEN_MAX)?)
    }

    fn parse(file: &str, text: &str) -> Result<Self, WordListError> {
        let refuse = |line: usize, problem| {
            let (file, line) = (file.to_owned(), line + 1);
            WordListError::Word { file, line, problem }
        };
        let mut words = Vec::new();
        for (at, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            let word = line.trim();
            if word.is_empty() || word.starts_with('#') {
                continue;
            }
            if word.chars().count() > WORD_LEN_MAX {
                return Err(refuse(at, "is longer than 200 characters"));
            }
            let folded: String = word.chars().flat_map(fold).collect();
            if folded.is_empty() {
                return Err(refuse(at, "has nothing that could be looked for"));
            }
            if words.len() == WORDS_MAX {
                return Err(refuse(at, "is one too many: a list may have 100000"));
            }
            words.push(folded);
        }
        let words = AhoCorasick::new(&words).map_err(|error| WordListError::List {
            file: file.to_owned(),
            problem: error.to_string(),
        })?;
        Ok(Self { words })
    }

    /// How many words are looked for.
    pub(crate) fn len(&self) -> usize {
        self.words.patterns_len()
    }

    /// Returns `text` with each character of each occurrence replaced by `*`, which
    /// never makes it longer; `None` if there is none. Linear in the text's length
    /// and in the occurrences.
    pub(crate) fn mask(&self, text: &str) -> Option<String> {
        let mut folded = String::with_capacity(text.len());
        // For each byte of the folded text, which character it came from.
        let mut from = Vec::with_capacity(text.len());
        for (at, c) in text.chars().enumerate() {
            folded.extend(fold(c));
            from.resize(folded.len(), at);
        }
        // For each character, where the longest occurrence that it ends began.
        let mut begins: Vec<Option<usize>> = Vec::new();
        for found in self.words.find_overlapping_iter(&folded) {
            let (begin, end) = (from[found.start()], from[found.end() - 1]);
            // A syllable of Hangul is a letter, though it is compared by its parts.
            let is_cut = |at| at > 0 && from.get(at) == Some(&from[at - 1]);
            if [found.start(), found.end()].into_iter().any(|at| is_cut(at) && is_jamo(&folded, at))
            {
                continue;
            }
            begins.resize(begins.len().max(end + 1), None);
            begins[end] = Some(begins[end].map_or(begin, |other| other.min(begin)));
        }
        if begins.is_empty() {
            return None;
        }
        let mut masked = vec![false; begins.len()];
        let mut reach = usize::MAX;
        for (at, begin) in begins.iter().enumerate().rev() {
            reach = reach.min(begin.unwrap_or(usize::MAX));
            masked[at] = at >= reach;
        }
        let is_masked = |at| masked.get(at).copied().unwrap_or(false);
        let hide = |(at, c)| if is_masked(at) { MASK } else { c };
        Some(text.chars().enumerate().map(hide).collect())
    }
}

/// A character as it is compared: without width, case and accents. Nothing at all
/// for accents, and for what is invisible between the letters of a word.
fn fold(c: char) -> impl Iterator<Item = char> {
    let is_heard = |c: &char| {
        !is_accent(*c) && !matches!(c, '\u{ad}' | '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}')
    };
    // Nearly all that is ever said needs no tables.
    let ascii = c.is_ascii().then(|| c.to_ascii_lowercase());
    let other = (!c.is_ascii()).then_some(c);
    ascii.into_iter().chain(other.into_iter().nfkd().filter(is_heard).flat_map(char::to_lowercase))
}

/// Whether a mark leaves the letter what it is: accents of Latin, Greek and Cyrillic,
/// points of Hebrew and Arabic, variants. Those of kana, Thai or Devanagari make other
/// letters, and so other words.
fn is_accent(c: char) -> bool {
    let is_near = matches!(
        c,
        '\u{300}'..='\u{36f}' | '\u{483}'..='\u{489}' | '\u{591}'..='\u{5c7}' | '\u{610}'..='\u{61a}'
            | '\u{64b}'..='\u{65f}' | '\u{670}' | '\u{6d6}'..='\u{6ed}' | '\u{1ab0}'..='\u{1aff}'
            | '\u{1dc0}'..='\u{1dff}' | '\u{20d0}'..='\u{20ff}' | '\u{fe00}'..='\u{fe0f}'
            | '\u{fe20}'..='\u{fe2f}' | '\u{e0100}'..='\u{e01ef}'
    );
    is_near && unicode_normalization::char::is_combining_mark(c)
}

/// Whether a part of a Hangul syllable is at `at`.
fn is_jamo(folded: &str, at: usize) -> bool {
    folded[at..].starts_with(|c| matches!(c, '\u{1100}'..='\u{11ff}'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filter(words: &str) -> WordFilter {
        WordFilter::parse("words.txt", words).unwrap()
    }

    #[track_caller]
    fn check(words: &str, text: &str, expected: Option<&str>) {
        assert_eq!(filter(words).mask(text).as_deref(), expected);
    }

    #[test]
    fn every_occurrence_is_masked_whatever_its_case_and_width() {
        check("bad", "a bad BAD ｂａｄ Bad day", Some("a *** *** *** *** day"));
        check("bad", "badbad", Some("******"));
        check("bad", "good", None);
        check("BAD\nｗｏｒｓｅ", "bad worse", Some("*** *****"));
        check("坏话", "这是坏话，坏话！", Some("这是**，**！"));
        check("bad", "b\u{200b}a\u{301}d", Some("*****"));
        check("café", "CAFE", Some("****"));
        check("straße", "STRASSE straße", Some("STRASSE ******"));
        check("İstanbul", "istanbul ISTANBUL", Some("******** ********"));
    }

    #[test]
    fn other_letters_make_other_words() {
        check("바보", "바보 바봄", Some("** 바봄"));
        check("ㅏ", "가ㅏ", Some("가*"));
        // The same two syllables, each written as its parts.
        check("바보", "\u{1107}\u{1161}\u{1107}\u{1169}", Some("****"));
        check("かき", "がき かき", Some("がき **"));
        check("ガキ", "ｶﾞｷ カキ", Some("*** カキ"));
        check("कल", "कल काल कील", Some("** काल कील"));
        check("มา", "มา ม้า", Some("** ม้า"));
        check("كتب", "كَتَب", Some("*****"));
        check("ёлка", "елка ЁЛКА", Some("**** ****"));
    }

    #[test]
    fn a_masked_text_is_never_longer() {
        check("ﷺ", "ﷺ", Some("*"));
        check("a", "ａ", Some("*"));
        check("fi", "ﬁ", Some("*"));
    }

    #[test]
    fn occurrences_that_overlap_are_masked_both() {
        check("abc\nbcd", "xabcdx", Some("x****x"));
        check("a\naaa", "aaaa", Some("****"));
        check("abcd\nbc", "abcx", Some("a**x"));
    }

    #[test]
    fn a_list_has_comments_and_empty_lines() {
        check("# nothing\n\n  bad  \r\n", "# bad", Some("# ***"));
        assert_eq!(filter("").len(), 0);
        check("", "anything", None);
    }

    #[test]
    fn a_list_that_makes_no_sense_is_refused_with_its_line() {
        let refused = |text: &str| WordFilter::parse("words.txt", text).unwrap_err().to_string();
        assert_eq!(
            refused(&format!("ok\n{}", "x".repeat(201))),
            "words.txt:2: the word is longer than 200 characters"
        );
        let many = (0..=WORDS_MAX).map(|n| format!("w{n}\n")).collect::<String>();
        assert_eq!(
            refused(&many),
            "words.txt:100001: the word is one too many: a list may have 100000"
        );
        assert_eq!(
            refused("\u{301}"),
            "words.txt:1: the word has nothing that could be looked for"
        );
    }

    proptest! {
        /// What was masked once holds no word any more, and the rest is untouched.
        #[test]
        fn masking_leaves_no_word_and_no_other_trace(
            words in prop::collection::vec("[abAB]{1,4}", 1..6), text in "[abAB *]{0,40}",
        ) {
            let filter = filter(&words.join("\n"));
            let masked = filter.mask(&text).unwrap_or_else(|| text.clone());
            prop_assert_eq!(masked.chars().count(), text.chars().count());
            prop_assert_eq!(filter.mask(&masked), None);
            let folded = text.to_lowercase();
            for (at, (new, old)) in masked.chars().zip(text.chars()).enumerate() {
                let hit = words.iter().any(|word| {
                    let word = word.to_lowercase();
                    folded.match_indices(&word).count() > 0
                        && (0..word.len()).any(|back| at >= back && folded[at - back..].starts_with(&word))
                });
                prop_assert_eq!(new, if hit { '*' } else { old });
            }
        }
    }
}
