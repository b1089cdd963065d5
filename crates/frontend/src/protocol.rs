//! Which of Pomelo's application profiles a listener serves.

use std::{fs, path::PathBuf};

use wire::{NamedText, Profile, ProfileFiles, ProfileName, Side};

/// What clients are told at the handshake.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Protocol")]
#[group(id = "protocol")]
pub struct ProtocolOptions {
    /// What the handshake announces: starter (JSON only), master (dictionary of
    /// request routes, protobuf onChat) or full (push routes in the dictionary,
    /// protobuf both ways), as the branches of chatofpomelo do
    #[arg(long, env = "SHADDOCK_PROFILE", value_name = "NAME", default_value_t = ProfileName::Master)]
    pub profile: ProfileName,

    /// Push routes for the dictionary, in the format of Pomelo's dictionary.json
    #[arg(long, env = "SHADDOCK_DICT", value_name = "FILE")]
    pub dict: Option<PathBuf>,

    /// Schemas of requests, in the format of Pomelo's clientProtos.json
    #[arg(long, env = "SHADDOCK_CLIENT_PROTOS", value_name = "FILE")]
    pub client_protos: Option<PathBuf>,

    /// Schemas of pushes, in the format of Pomelo's serverProtos.json
    #[arg(long, env = "SHADDOCK_SERVER_PROTOS", value_name = "FILE")]
    pub server_protos: Option<PathBuf>,
}

impl ProtocolOptions {
    /// Makes the profile of one side; `heartbeat_secs` of 0 is none.
    ///
    /// # Errors
    ///
    /// One line that names the file: it cannot be read, or is not what it should be.
    pub fn load(&self, side: Side, heartbeat_secs: u16) -> Result<Profile, String> {
        let dictionary = read(self.dict.as_ref(), "--dict")?;
        let client_protos = read(self.client_protos.as_ref(), "--client-protos")?;
        let server_protos = read(self.server_protos.as_ref(), "--server-protos")?;
        let files = ProfileFiles {
            dictionary: named(dictionary.as_ref()),
            client_protos: named(client_protos.as_ref()),
            server_protos: named(server_protos.as_ref()),
        };
        if dictionary.is_none() && client_protos.is_none() && server_protos.is_none() {
            return Ok(Profile::named(self.profile, side, heartbeat_secs));
        }
        Profile::from_files(self.profile, side, heartbeat_secs, &files)
            .map_err(|error| error.to_string())
    }
}

fn read(file: Option<&PathBuf>, flag: &str) -> Result<Option<(String, String)>, String> {
    let Some(file) = file else { return Ok(None) };
    let name = file.display().to_string();
    match fs::read_to_string(file) {
        Ok(text) => Ok(Some((name, text))),
        Err(error) => Err(format!("cannot read {name} ({flag}): {error}")),
    }
}

fn named(file: Option<&(String, String)>) -> Option<NamedText<'_>> {
    file.map(|(name, text)| NamedText { name, text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_named_profiles_need_no_files() {
        for profile in ProfileName::ALL {
            let options = ProtocolOptions { profile, ..ProtocolOptions::default() };
            let profile = options.load(Side::Connector, 3).unwrap();
            assert_eq!(profile.heartbeat_secs().map(std::num::NonZero::get), Some(3));
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_named_with_its_flag() {
        let dict = Some("does/not/exist.json".into());
        let refused =
            ProtocolOptions { dict, ..ProtocolOptions::default() }.load(Side::Gate, 0).unwrap_err();
        assert!(refused.starts_with("cannot read does/not/exist.json (--dict): "), "{refused}");
    }
}
