//! The question before something is destroyed: put to whoever sits at the terminal.
//!
//! **Why on the terminal itself and not on stderr:** where that goes to a file, nobody would see the question.

use super::{Exit, Failure, output};
use std::fs::OpenOptions;
use std::io::{self, IsTerminal as _, Read, Write};

/// The longest answer that is read, bytes.
const MAX_ANSWER: usize = 64;

/// Asks, unless `yes` was said already. A script is not asked: nobody would answer.
///
/// # Errors
/// When it is not confirmed, and when it cannot be asked.
pub fn confirmed(yes: bool, what: &str) -> Result<(), Failure> {
    let somebody_types = io::stdin().is_terminal();
    let terminal = || OpenOptions::new().read(true).write(true).open("/dev/tty");
    decided(yes || !somebody_types, what, terminal)
}

fn decided<T: Read + Write>(
    unasked: bool,
    what: &str,
    terminal: impl FnOnce() -> io::Result<T>,
) -> Result<(), Failure> {
    if unasked {
        return Ok(());
    }
    let said = terminal().and_then(|mut terminal| {
        let question = format!("{}.\nGo on? [y/N] ", output::clean(what));
        terminal.write_all(question.as_bytes())?;
        terminal.flush()?;
        line(&mut terminal)
    });
    match said {
        Ok(said) if matches!(said.trim(), "y" | "Y" | "yes") => Ok(()),
        Ok(_no) => Err(Failure::new(Exit::Failed, "nothing was done")),
        Err(error) => {
            let message = format!(
                "{what}; nobody could be asked ({error}), so nothing was done: repeat it with --yes"
            );
            Err(Failure::new(Exit::Failed, message))
        }
    }
}

fn line(terminal: &mut impl Read) -> io::Result<String> {
    let mut said = Vec::new();
    let mut byte = [0];
    while said.len() < MAX_ANSWER && terminal.read(&mut byte)? == 1 && byte != [b'\n'] {
        said.extend_from_slice(&byte);
    }
    Ok(String::from_utf8_lossy(&said).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is typed, and what was asked.
    struct Terminal<'a>(&'static [u8], &'a mut Vec<u8>);

    impl Read for Terminal<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            self.0.read(into)
        }
    }

    impl Write for Terminal<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.1.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn only_a_yes_goes_on_and_who_cannot_be_asked_has_not_said_it() {
        for (typed, good) in [
            (&b"y\n"[..], true),
            (b"yes\nno\n", true),
            (b"n\n", false),
            (b"\n", false),
            (b"", false),
        ] {
            let mut asked = Vec::new();
            let done = decided(false, "app 7 goes", || Ok(Terminal(typed, &mut asked)));
            assert_eq!(done.is_ok(), good, "{typed:?}");
            assert!(asked.starts_with(b"app 7 goes.\n"));
        }
        let nobody = || -> io::Result<Terminal<'static>> { Err(io::Error::other("no terminal")) };
        let refused = decided(false, "app 7 goes", nobody);
        assert!(refused.is_err_and(|failure| failure.message.contains("--yes")));
        assert_eq!(decided(true, "app 7 goes", nobody), Ok(()));
    }
}
