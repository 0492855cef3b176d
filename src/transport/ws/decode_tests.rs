#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use proptest::prelude::*;

const MASK: [u8; 4] = [0x12, 0x34, 0x56, 0x78];

/// A masked client frame with this first byte.
fn client(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    if payload.len() < 126 {
        out.push(0x80 | u8::try_from(payload.len()).unwrap());
    } else if payload.len() < 1 << 16 {
        out.push(0x80 | 126);
        out.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
    } else {
        out.push(0x80 | 127);
        out.extend((payload.len() as u64).to_be_bytes());
    }
    out.extend(MASK);
    out.extend(payload.iter().zip(MASK.iter().cycle()).map(|(b, m)| b ^ m));
    out
}

/// Feeds the bytes in pieces of `step` and collects what was said until the first abuse.
fn feed(max: usize, bytes: &[u8], step: usize) -> (Vec<Said>, Option<Abuse>) {
    let mut decoder = Decoder::new(max);
    let mut said = Vec::new();
    for piece in bytes.chunks(step) {
        let mut input = piece;
        loop {
            match decoder.next(&mut input) {
                Ok(Some(one)) => said.push(one),
                Ok(None) => break,
                Err(abuse) => return (said, Some(abuse)),
            }
        }
        assert!(input.is_empty(), "everything is taken");
    }
    (said, None)
}

fn text(text: &str) -> Said {
    Said::Message(Frame::Text(text.to_owned().into()))
}

#[test]
fn fragments_become_one_message_and_controls_may_come_between() {
    let mut bytes = client(0x01, "Hé".as_bytes());
    bytes.extend(client(0x89, b"p"));
    bytes.extend(client(0x00, b""));
    bytes.extend(client(0x80, b"llo"));
    for step in [1, 2, 3, 7, 1000] {
        let (said, abuse) = feed(100, &bytes, step);
        assert_eq!(
            said,
            [Said::Ping(Bytes::from_static(b"p")), text("Héllo")],
            "step {step}"
        );
        assert_eq!(abuse, None);
    }
}

#[test]
fn a_character_may_be_split_between_fragments_but_must_be_whole_in_the_end() {
    let mut bytes = client(0x01, &[0xc3]);
    bytes.extend(client(0x80, &[0xa9]));
    assert_eq!(feed(10, &bytes, 99).0, [text("é")]);
    let broken = client(0x81, &[0xc3]);
    assert_eq!(feed(10, &broken, 99).1, Some(Abuse::NotUtf8));
    let surrogate = client(0x81, &[0xed, 0xa0, 0x80]);
    assert_eq!(feed(10, &surrogate, 99).1, Some(Abuse::NotUtf8));
}

#[test]
fn the_limit_is_over_the_whole_message_and_known_from_the_header() {
    assert_eq!(feed(5, &client(0x82, b"12345"), 99).1, None);
    // Only the header: nothing of the payload has to arrive.
    assert_eq!(
        feed(5, client(0x82, b"123456").get(..6).unwrap(), 99).1,
        Some(Abuse::TooLarge)
    );
    let mut bytes = client(0x02, b"123");
    bytes.extend(client(0x80, b"456"));
    assert_eq!(feed(5, &bytes, 99).1, Some(Abuse::TooLarge));
}

#[test]
fn absurd_lengths_neither_overflow_nor_allocate() {
    for length in [u64::MAX, 1 << 63, i64::MAX as u64, 1 << 32] {
        let mut bytes = vec![0x82, 0xff];
        bytes.extend(length.to_be_bytes());
        bytes.extend(MASK);
        assert_eq!(feed(1 << 20, &bytes, 99).1, Some(Abuse::TooLarge));
        // The same as a continuation of a message that has begun.
        let mut later = client(0x02, b"x");
        later.extend([0x80, 0xff]);
        later.extend(length.to_be_bytes());
        later.extend(MASK);
        assert_eq!(feed(1 << 20, &later, 99).1, Some(Abuse::TooLarge));
    }
    let mut decoder = Decoder::new(1 << 30);
    let mut promise: &[u8] = &[0x82, 0xff, 0, 0, 0, 0, 0x20, 0, 0, 0, 1, 2, 3, 4, 9];
    assert_eq!(decoder.next(&mut promise), Ok(None));
    assert!(decoder.message.capacity() <= 2 * RESERVE);
}

#[test]
fn what_no_client_may_send_is_refused() {
    let cases: [(&str, Vec<u8>); 12] = [
        ("unmasked", vec![0x81, 0x01, b'x']),
        ("rsv1", client(0xc1, b"x")),
        ("rsv2", client(0xa1, b"x")),
        ("rsv3", client(0x91, b"x")),
        ("reserved data opcode", client(0x83, b"x")),
        ("reserved control opcode", client(0x8b, b"x")),
        ("continuation of nothing", client(0x80, b"x")),
        ("fragmented ping", client(0x09, b"x")),
        ("long ping", client(0x89, &[0; 126])),
        ("close of one byte", client(0x88, &[3])),
        ("close 1005", client(0x88, &1005u16.to_be_bytes())),
        ("close 999", client(0x88, &999u16.to_be_bytes())),
    ];
    for (name, bytes) in cases {
        assert_eq!(feed(1000, &bytes, 99).1, Some(Abuse::Protocol), "{name}");
    }
    let mut interrupted = client(0x01, b"a");
    interrupted.extend(client(0x81, b"b"));
    assert_eq!(feed(1000, &interrupted, 99).1, Some(Abuse::Protocol));
}

#[test]
fn close_gives_its_code() {
    assert_eq!(feed(9, &client(0x88, b""), 1).0, [Said::Close(None)]);
    let mut payload = 4001u16.to_be_bytes().to_vec();
    payload.extend(b"bye");
    assert_eq!(
        feed(9, &client(0x88, &payload), 1).0,
        [Said::Close(Some(4001))]
    );
    payload.push(0xff);
    assert_eq!(feed(9, &client(0x88, &payload), 1).1, Some(Abuse::NotUtf8));
}

proptest! {
    #[test]
    fn any_payload_in_any_pieces_comes_out_as_it_went_in(
        payload in proptest::collection::vec(any::<u8>(), 0..70_000),
        cut in 0usize..70_000,
        step in 1usize..5_000,
    ) {
        let (one, two) = payload.split_at(cut.min(payload.len()));
        let mut bytes = client(0x02, one);
        bytes.extend(client(0x80, two));
        let (said, abuse) = feed(payload.len(), &bytes, step);
        prop_assert_eq!(abuse, None);
        prop_assert_eq!(said, [Said::Message(Frame::Binary(payload.into()))]);
    }

    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300), step in 1usize..50) {
        let mut decoder = Decoder::new(64);
        for piece in bytes.chunks(step) {
            let mut input = piece;
            let mut ended = false;
            loop {
                match decoder.next(&mut input) {
                    Ok(Some(Said::Message(Frame::Text(text)))) => prop_assert!(text.len() <= 64),
                    Ok(Some(Said::Message(Frame::Binary(data)))) => prop_assert!(data.len() <= 64),
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(_) => { ended = true; break; }
                }
            }
            if ended { break; }
        }
    }
}
