//! Files that may change while the process runs.

use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};
use tokio::sync::watch;
use tokio_rustls::rustls::pki_types::CertificateDer;
use x509_cert::der::Decode;

use crate::{App, Policy, StartError};

/// How often a followed file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The counts of what was read again, and until when it is good. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reloads {
    counts: Family<Labels, Counter>,
    expiries: Family<FileLabel, Gauge>,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Labels {
    file: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct FileLabel {
    file: &'static str,
}

impl Reloads {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let reloads = Self::default();
        registry.register(
            "reloads",
            "Changed files that were read again, by what they are and the result",
            reloads.counts.clone(),
        );
        registry.register_with_unit(
            "certificate_expiry_timestamp",
            "When the certificate in use expires, in seconds since 1970, by what it is for",
            Unit::Seconds,
            reloads.expiries.clone(),
        );
        reloads
    }

    fn count(&self, file: &'static str, result: &'static str) {
        self.counts.get_or_create(&Labels { file, result }).inc();
    }
}

/// Says until when a certificate is good, in `certificate_expiry_timestamp_seconds`.
#[derive(Clone, Debug)]
pub struct CertificateExpiry(Family<FileLabel, Gauge>, FileLabel);

impl CertificateExpiry {
    /// Takes this certificate for the one in use. One that cannot be read says nothing.
    pub fn note(&self, certificate: &CertificateDer<'_>) {
        let Ok(read) = x509_cert::Certificate::from_der(certificate) else { return };
        let expiry = read.tbs_certificate.validity.not_after.to_unix_duration().as_secs();
        let CertificateExpiry(expiries, file) = self;
        expiries.get_or_create(file).set(i64::try_from(expiry).unwrap_or(i64::MAX));
    }
}

/// What tells one content of a file from the next without reading it: also when a
/// link to it is swapped, as Kubernetes does it with mounted Secrets.
type Stamp = Option<(u64, u64, u64, i64, i64)>;

fn stamps(paths: &[PathBuf]) -> Vec<Stamp> {
    let stamp = |path: &PathBuf| {
        let of = std::fs::metadata(path).ok()?;
        Some((of.dev(), of.ino(), of.len(), of.mtime(), of.mtime_nsec()))
    };
    paths.iter().map(stamp).collect()
}

impl App {
    /// Where to say until when the certificate of these files is good; `file` as of
    /// [`App::follow`].
    #[must_use]
    pub fn certificate_expiry(&self, file: &'static str) -> CertificateExpiry {
        CertificateExpiry(self.reloads().expiries.clone(), FileLabel { file })
    }

    /// Makes something of `paths` now, and again within about a second whenever one
    /// of them has changed. `file` says what they are: in logs, and as the label of
    /// `reloads_total`, so it comes from a closed set.
    ///
    /// A change of which `make` can make nothing is logged as a warning, and what
    /// was made before stays in force.
    ///
    /// # Errors
    ///
    /// What `make` says the first time, as a [`StartError`].
    pub fn follow<T, E>(
        &self,
        file: &'static str,
        paths: Vec<PathBuf>,
        make: impl Fn(&[PathBuf]) -> Result<T, E> + Send + Sync + 'static,
    ) -> Result<watch::Receiver<Arc<T>>, StartError>
    where
        T: Send + Sync + 'static,
        E: std::error::Error + Send + 'static,
    {
        // Looked at before it is read: what changes in between is read once more.
        let mut seen = stamps(&paths);
        let first = make(&paths).map_err(|error| StartError(crate::chain(&error)))?;
        let (sender, made) = watch::channel(Arc::new(first));
        let (clock, shutdown, reloads) =
            (self.world().clock, self.shutdown(), self.reloads().clone());
        let make = Arc::new(make);
        self.tasks().spawn("follow", Policy::Critical, async move {
            let follow = async {
                loop {
                    clock.sleep(LOOK_EVERY).await;
                    let (paths, make, last) = (paths.clone(), Arc::clone(&make), seen.clone());
                    // A disk may be slow, and so may be making something of it.
                    let look = tokio::task::spawn_blocking(move || {
                        let now = stamps(&paths);
                        let made = (now != last).then(|| make(&paths));
                        (now, made)
                    });
                    let Ok((now, made)) = look.await else { return };
                    seen = now;
                    match made {
                        None => {}
                        Some(Ok(new)) => {
                            tracing::info!(file, "read again");
                            reloads.count(file, "ok");
                            sender.send_replace(Arc::new(new));
                        }
                        Some(Err(error)) => {
                            let error = crate::chain(&error);
                            tracing::warn!(file, error, "not read again: the old content counts");
                            reloads.count(file, "refused");
                        }
                    }
                }
            };
            shutdown.run_until_cancelled(follow).await;
        });
        Ok(made)
    }
}

/// Reads a whole text file of at most `len_max` bytes.
///
/// # Errors
///
/// One line that names the file.
pub fn read_text(path: &Path, len_max: u64) -> Result<String, ReadError> {
    use std::io::Read;
    let refuse = |why: String| ReadError { path: path.to_owned(), why };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| refuse(error.to_string()))?;
    file.take(len_max + 1).read_to_string(&mut text).map_err(|error| refuse(error.to_string()))?;
    if text.len() as u64 > len_max {
        return Err(refuse(format!("it has more than {len_max} bytes")));
    }
    Ok(text)
}

/// A file cannot be read, is too long, or is no text.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("cannot read {}: {why}", path.display())]
pub struct ReadError {
    /// Which file.
    pub path: PathBuf,
    /// Why.
    pub why: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::World;

    fn number(paths: &[PathBuf]) -> Result<u32, ReadError> {
        let text = read_text(&paths[0], 8)?;
        text.trim()
            .parse()
            .map_err(|_| ReadError { path: paths[0].clone(), why: "no number".into() })
    }

    fn reloads(app: &App, result: &'static str) -> u64 {
        app.reloads().counts.get_or_create(&Labels { file: "number", result }).get()
    }

    #[tokio::test]
    async fn a_change_is_seen_and_a_bad_one_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("number");
        let write = |text: &str| {
            // By renaming, so that no half of it is ever read.
            let new = folder.path().join("new");
            std::fs::write(&new, text).unwrap();
            std::fs::rename(&new, &path).unwrap();
        };
        write("1");
        let app = App::detached(World::real());
        let mut made = app.follow("number", vec![path.clone()], number).unwrap();
        assert_eq!(**made.borrow_and_update(), 1);

        write("one");
        while reloads(&app, "refused") == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(**made.borrow_and_update(), 1);

        write("2");
        made.changed().await.unwrap();
        assert_eq!(**made.borrow_and_update(), 2);
        assert_eq!((reloads(&app, "ok"), reloads(&app, "refused")), (1, 1));
    }

    #[tokio::test]
    async fn a_process_does_not_start_without_its_file() {
        let app = App::detached(World::real());
        let error = app.follow("number", vec!["/does/not/exist".into()], number).unwrap_err();
        assert!(error.0.starts_with("cannot read /does/not/exist: "), "{error}");
    }

    #[test]
    fn a_certificate_says_until_when_it_is_good() {
        let mut app = App::detached(World::real());
        let expiry = app.certificate_expiry("tls");
        let mut said = || {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, app.registry()).unwrap();
            let line = text.lines().find(|line| line.starts_with("certificate_expiry"));
            line.map(str::to_owned)
        };
        expiry.note(&CertificateDer::from(vec![1, 2, 3]));
        assert_eq!(said(), None);
        let mut params = rcgen::CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(2031, 5, 6);
        let key = rcgen::KeyPair::generate().unwrap();
        expiry.note(params.self_signed(&key).unwrap().der());
        let line = "certificate_expiry_timestamp_seconds{file=\"tls\"} 1935792000";
        assert_eq!(said().as_deref(), Some(line));
    }

    #[test]
    fn a_file_that_is_too_long_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("long");
        std::fs::write(&path, "123456789").unwrap();
        let error = read_text(&path, 8).unwrap_err();
        assert!(error.to_string().ends_with("it has more than 8 bytes"), "{error}");
        assert_eq!(read_text(&path, 9).unwrap(), "123456789");
    }
}
