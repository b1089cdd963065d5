/// Follows a client's WebSocket frames as their bytes go by, only to know when
/// none is in progress: then the buffer that a long one needed can go.
#[derive(Debug, Default)]
pub(crate) struct Boundary {
    header: [u8; Self::HEADER_LEN_MAX],
    header_len: u8,
    /// Bytes of the frame's payload that have not come yet.
    rest: u64,
    in_fragments: bool,
    longest: u64,
}

const FINAL: u8 = 0x80;
const CONTROL: u8 = 0x08;
const MASKED: u8 = 0x80;

impl Boundary {
    const HEADER_LEN_MAX: usize = 14;

    /// Bytes have come.
    pub(crate) fn pass(&mut self, mut bytes: &[u8]) {
        while let Some(first) = bytes.first() {
            if self.rest > 0 {
                let part = self.rest.min(bytes.len() as u64);
                self.rest -= part;
                bytes = &bytes[part as usize..];
                continue;
            }
            self.header[usize::from(self.header_len)] = *first;
            self.header_len += 1;
            bytes = &bytes[1..];
            self.end_header();
        }
    }

    /// Whether the last frame, and the last message, are complete.
    pub(crate) fn is_between_messages(&self) -> bool {
        self.rest == 0 && self.header_len == 0 && !self.in_fragments
    }

    /// The longest payload of a frame since [`Boundary::reset`], in bytes.
    pub(crate) fn longest(&self) -> u64 {
        self.longest
    }

    /// Forgets the longest.
    pub(crate) fn reset(&mut self) {
        self.longest = 0;
    }

    fn end_header(&mut self) {
        let [first, second, long @ ..] = &self.header;
        let extended = match second & !MASKED {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mask = if second & MASKED != 0 { 4 } else { 0 };
        if self.header_len < 2 || usize::from(self.header_len) < 2 + extended + mask {
            return;
        }
        let long = long[..extended].iter().fold(0, |len, byte| (len << 8) | u64::from(*byte));
        self.rest = if extended == 0 { u64::from(second & !MASKED) } else { long };
        self.longest = self.longest.max(self.rest);
        if first & CONTROL == 0 {
            self.in_fragments = first & FINAL == 0;
        }
        self.header_len = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio_tungstenite::tungstenite::protocol::frame::{
        Frame,
        coding::{Data, OpCode},
    };

    use super::*;

    /// Messages of up to three fragments, with pings anywhere.
    fn any_message() -> impl Strategy<Value = Vec<Frame>> {
        let len = prop_oneof![0..200_usize, 65_500..65_600_usize];
        (prop::collection::vec((len, any::<bool>(), any::<bool>()), 1..4)).prop_map(|fragments| {
            let (count, mut frames) = (fragments.len(), Vec::new());
            for (i, (len, is_masked, has_ping)) in fragments.into_iter().enumerate() {
                let data = if i == 0 { Data::Binary } else { Data::Continue };
                let mut frame = Frame::message(vec![0; len], OpCode::Data(data), i + 1 == count);
                frame.header_mut().mask = is_masked.then_some([1, 2, 3, 4]);
                frames.push(frame);
                if has_ping {
                    frames.push(Frame::ping(vec![0; 9]));
                }
            }
            frames
        })
    }

    proptest! {
        #[test]
        fn the_end_of_every_message_is_found_and_nothing_else(
            messages in prop::collection::vec(any_message(), 1..4),
            cut in 1..5_000_usize,
        ) {
            let mut boundary = Boundary::default();
            let mut longest = 0;
            for frames in messages {
                prop_assert!(boundary.is_between_messages());
                let last = frames.iter().rposition(|f| matches!(f.header().opcode, OpCode::Data(_)));
                for (i, frame) in frames.into_iter().enumerate() {
                    let ends_message = Some(i) >= last;
                    longest = longest.max(frame.payload().len() as u64);
                    let mut bytes = Vec::new();
                    frame.format(&mut bytes).unwrap();
                    let (head, end) = bytes.split_at(bytes.len() - 1);
                    for part in head.chunks(cut) {
                        boundary.pass(part);
                        prop_assert!(!boundary.is_between_messages());
                    }
                    boundary.pass(end);
                    prop_assert_eq!(boundary.is_between_messages(), ends_message);
                }
            }
            prop_assert_eq!(boundary.longest(), longest);
        }
    }
}
