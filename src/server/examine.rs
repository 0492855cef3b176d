//! Looking at a configuration without starting anything: what it names has to be there, too.

use crate::config::Config;
use crate::transport::tls::Certificate;

/// What is good about it, in one sentence.
///
/// # Errors
/// In words, when a certificate cannot be used or the data folder is none.
pub fn examine(config: &Config) -> Result<String, String> {
    if let Some(tls) = &config.tls {
        Certificate::load(&tls.cert, &tls.key).map_err(|error| error.to_string())?;
    }
    let data = config.data.display();
    let folder = match std::fs::metadata(&config.data) {
        Ok(found) if !found.is_dir() => {
            return Err(format!(
                "{data} is a file: `data` names the folder of this node's data"
            ));
        }
        Ok(_folder) => "",
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => " (made at its first start)",
        Err(error) => return Err(format!("the data folder {data}: {error}")),
    };
    Ok(format!(
        "The configuration is good: node {} keeps its data in {data}{folder}, serves clients at {}, operators at {} and \
         peers at {}.\n",
        config.node, config.public, config.internal, config.peer_addr
    ))
}
