//! The last list, kept in a file for a start without an API server.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::sync::watch;

use super::merge::Listed;
use crate::{ListError, list::File};

/// One Service's file in the folder of `--state-dir`: written as an operator would
/// write it for `--shards @FILE`.
#[derive(Clone, Debug)]
pub(crate) struct StateFile(PathBuf);

impl StateFile {
    pub(crate) fn new(folder: &Path, service: &str) -> Self {
        Self(folder.join(format!("{service}.list")))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// What was listed last.
    pub(crate) async fn read<T: Listed>(&self) -> Result<Arc<[T]>, ListError> {
        let path = self.0.clone();
        // Reading blocks.
        let file = tokio::task::spawn_blocking(move || File::read(path)).await;
        match file.map(|file| file.parse()) {
            Ok(Err(ListError::Empty(_))) => Ok(Arc::new([])),
            Ok(read) => read,
            Err(error) => {
                Err(ListError::Unreadable { path: self.0.clone(), error: error.to_string() })
            }
        }
    }

    /// Writes each new list, until nobody publishes any more.
    pub(crate) async fn keep<T: Listed>(self, mut entries: watch::Receiver<Arc<[T]>>) {
        while entries.changed().await.is_ok() {
            let text = text(&entries.borrow_and_update());
            let path = self.0.clone();
            // Writing blocks. A write that takes for ever keeps only the next one waiting.
            let wrote = tokio::task::spawn_blocking(move || write(&path, &text)).await;
            if let Ok(Err(error)) = wrote {
                let file = self.0.display();
                tracing::warn!(%file, error = %error, "the list was not kept for the next start");
            }
        }
    }
}

fn text<T: Listed>(entries: &[T]) -> String {
    let lines = entries.iter().map(|entry| entry.line() + "\n");
    std::iter::once("# written by Shaddock, for its next start\n".to_owned()).chain(lines).collect()
}

/// By renaming, so that nobody reads half of it.
fn write(path: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let next = path.with_extension("next");
    fs::write(&next, text)?;
    fs::rename(&next, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Connector, Shard};

    #[tokio::test]
    async fn what_is_written_is_read_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFile::new(&folder.path().join("new"), "chat-headless");
        let shard = |id: &str, addr: &str| Shard { id: id.parse().unwrap(), addr: addr.into() };
        for list in [vec![shard("a", "10.0.0.1:1"), shard("b", "[fd00::1]:2")], vec![]] {
            write(state.path(), &text(&list)).unwrap();
            assert_eq!(*state.read::<Shard>().await.unwrap(), *list);
        }
        let nameless = vec![Connector { id: None, addr: "10.0.0.1:1".into() }];
        write(state.path(), &text(&nameless)).unwrap();
        assert_eq!(*state.read::<Connector>().await.unwrap(), *nameless);

        fs::write(state.path(), "half a").unwrap();
        assert!(state.read::<Shard>().await.is_err());
        let none = StateFile::new(folder.path(), "none").read::<Shard>().await;
        assert!(matches!(none, Err(ListError::Unreadable { .. })));
    }
}
