//! What may be said, and what of it is heard.

use std::{ops::RangeInclusive, path::PathBuf, sync::Arc};

use chassis::{App, StartError};
use prometheus_client::metrics::counter::Counter;
use tokio::sync::watch;

use crate::words::{WordFilter, WordListError};

/// The rules for the text of messages. Cloning shares them.
#[derive(Clone, Debug)]
pub(crate) struct ContentRules {
    /// Longest message, in bytes of UTF-8.
    pub(crate) len_max: usize,
    /// What is masked; follows its file.
    words: Option<watch::Receiver<Arc<WordFilter>>>,
    /// Messages of which something was masked.
    masked: Counter,
}

impl ContentRules {
    /// Rules without words.
    pub(crate) fn new(len_max: usize, masked: Counter) -> Self {
        Self { len_max, words: None, masked }
    }

    /// Masks the words of a file from now on, also after it has changed.
    ///
    /// # Errors
    ///
    /// The file cannot be read or is no list of words.
    pub(crate) fn with_words(mut self, file: PathBuf, app: &App) -> Result<Self, StartError> {
        let read = |files: &[PathBuf]| {
            let filter = WordFilter::read(&files[0])?;
            tracing::info!(words = filter.len(), "word filter");
            Ok::<_, WordListError>(filter)
        };
        let words = app.follow("word_filter", vec![file], read);
        self.words = Some(words.map_err(|error| StartError(format!("--word-filter: {error}")))?);
        Ok(self)
    }

    /// How many bytes a message may have.
    pub(crate) fn lengths(&self) -> RangeInclusive<usize> {
        1..=self.len_max
    }

    /// What is heard of `content`, and whether that is less than was said.
    pub(crate) fn apply(&self, content: String) -> (String, bool) {
        let filter = self.words.as_ref().map(|words| Arc::clone(&words.borrow()));
        match filter.and_then(|filter| filter.mask(&content)) {
            Some(masked) => {
                self.masked.inc();
                (masked, true)
            }
            None => (content, false),
        }
    }
}
