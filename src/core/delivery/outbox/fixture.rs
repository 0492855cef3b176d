//! A socket for tests: takes what it has room for and shows it.

use super::Sink;
use std::cell::{Cell, RefCell};
use std::io::{Error, ErrorKind, IoSlice};
use std::rc::Rc;

/// What was written, by write.
#[derive(Debug)]
pub(crate) struct Basin {
    pub(crate) room: Cell<usize>,
    pub(crate) writes: RefCell<Vec<Vec<u8>>>,
    pub(crate) aborted: Cell<bool>,
}

impl Basin {
    /// With room for so many bytes.
    pub(crate) fn of(room: usize) -> Rc<Self> {
        Rc::new(Self {
            room: Cell::new(room),
            writes: RefCell::default(),
            aborted: Cell::new(false),
        })
    }

    /// Everything since the last time, as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.writes.take().concat()).into_owned()
    }
}

impl Sink for Basin {
    fn write(&self, slices: &[IoSlice<'_>]) -> Result<usize, Error> {
        if self.aborted.get() {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let mut bytes = slices.iter().fold(Vec::new(), |mut all, slice| {
            all.extend_from_slice(slice);
            all
        });
        bytes.truncate(self.room.get());
        if bytes.is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        let taken = bytes.len();
        self.room.set(self.room.get() - taken);
        self.writes.borrow_mut().push(bytes);
        Ok(taken)
    }

    fn abort(&self) {
        self.aborted.set(true);
    }
}
