//! TCP segments of a capture: the two file formats of libpcap, and the text that tcpdump -nn prints.
//!
//! Reads what the exercises ask for and nothing else: addresses are left out, since all of it is on the loopback, and
//! of the options only those that are asked for. Formats: pcap-savefile(5), draft-ietf-opsawg-pcapng; RFC 9293.

/// One segment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Segment {
    /// Seconds, from some time on.
    pub time: f64,
    /// The sender's port.
    pub from: u16,
    /// The receiver's port.
    pub to: u16,
    /// The flags, as in the header: FIN 1, SYN 2, RST 4, PSH 8, ACK 16.
    pub flags: u8,
    /// The sequence number of its first byte.
    pub seq: u32,
    /// What it acknowledges; 0 without ACK.
    pub ack: u32,
    /// The window as it stands in the header, not scaled.
    pub window: u16,
    /// Bytes of payload.
    pub length: u32,
    /// The largest segment that its sender wants, in a SYN.
    pub mss: Option<u16>,
    /// Whether it acknowledges bytes beyond a hole.
    pub sack: bool,
}

impl Segment {
    /// Says that nothing more will come.
    pub fn fin(&self) -> bool {
        self.flags & 1 != 0
    }

    /// Begins a connection.
    pub fn syn(&self) -> bool {
        self.flags & 2 != 0
    }

    /// Ends it at once.
    pub fn rst(&self) -> bool {
        self.flags & 4 != 0
    }

    /// Whether it belongs to a connection with this port.
    pub fn has(&self, port: u16) -> bool {
        self.from == port || self.to == port
    }
}

/// All of them, in the order of the file.
///
/// # Errors
/// A sentence: it is a file of libpcap, but one that cannot be read.
pub fn read(file: &[u8]) -> Result<Vec<Segment>, String> {
    match file.first_chunk() {
        Some([0xd4, 0xc3, 0xb2, 0xa1]) => Ok(classic(file, true, 1e-6)),
        Some([0xa1, 0xb2, 0xc3, 0xd4]) => Ok(classic(file, false, 1e-6)),
        Some([0x4d, 0x3c, 0xb2, 0xa1]) => Ok(classic(file, true, 1e-9)),
        Some([0xa1, 0xb2, 0x3c, 0x4d]) => Ok(classic(file, false, 1e-9)),
        Some([0x0a, 0x0d, 0x0d, 0x0a]) => Ok(next_generation(file)),
        Some([0x1f, 0x8b, ..]) => Err("it is compressed: unpack it with gunzip".into()),
        _ => Ok(text(&String::from_utf8_lossy(file))),
    }
}

/// Numbers at places of a slice, in one byte order. `None` beyond its end.
#[derive(Clone, Copy)]
struct Bytes<'a>(&'a [u8], bool);

impl Bytes<'_> {
    fn u16(self, at: usize) -> Option<u16> {
        let two = *self.0.get(at..)?.first_chunk()?;
        Some(if self.1 { u16::from_le_bytes(two) } else { u16::from_be_bytes(two) })
    }

    fn u32(self, at: usize) -> Option<u32> {
        let four = *self.0.get(at..)?.first_chunk()?;
        Some(if self.1 { u32::from_le_bytes(four) } else { u32::from_be_bytes(four) })
    }
}

/// A header of 24 bytes, then records with one of 16. A file that is cut off ends where it is cut.
fn classic(file: &[u8], little: bool, unit: f64) -> Vec<Segment> {
    let bytes = Bytes(file, little);
    let link = bytes.u32(20).unwrap_or(0) & 0xffff;
    let (mut at, mut segments) = (24, Vec::new());
    while let [Some(seconds), Some(fraction), Some(length), Some(original)] =
        [0, 4, 8, 12].map(|field| bytes.u32(at + field))
    {
        let Some(packet) = (at + 16).checked_add(length as usize).and_then(|end| file.get(at + 16..end))
        else {
            break;
        };
        let time = f64::from(seconds) + f64::from(fraction) * unit;
        let found = segment(packet, original as usize, link);
        segments.extend(found.map(|segment| Segment { time, ..segment }));
        at += 16 + length as usize;
    }
    segments
}

/// Blocks, each with its length: a section's header says the byte order, descriptions of interfaces their link types,
/// enhanced packets hold the packets. Times are taken as microseconds, which all known writers use.
fn next_generation(file: &[u8]) -> Vec<Segment> {
    const SECTION: u32 = 0x0a0d_0d0a;
    let (mut at, mut little, mut links, mut segments) = (0, true, Vec::new(), Vec::new());
    while let Some(rest) = file.get(at..).filter(|rest| rest.len() >= 12) {
        if Bytes(rest, true).u32(0) == Some(SECTION) {
            little = rest[8] == 0x4d;
            links.clear();
        }
        let bytes = Bytes(rest, little);
        let (Some(kind), Some(length)) = (bytes.u32(0), bytes.u32(4).map(|length| length as usize)) else {
            break;
        };
        if length < 12 || length > rest.len() {
            break;
        }
        match kind {
            1 => links.push(u32::from(bytes.u16(8).unwrap_or(0))),
            6 => {
                let fields = [8, 12, 16, 20, 24].map(|at| bytes.u32(at).unwrap_or(0));
                let [interface, high, low, captured, original] = fields;
                let link = links.get(interface as usize).copied().unwrap_or(1);
                let time = (f64::from(high) * 4_294_967_296.0 + f64::from(low)) * 1e-6;
                let packet = rest[..length].get(28..28_usize.saturating_add(captured as usize));
                let found = packet.and_then(|packet| segment(packet, original as usize, link));
                segments.extend(found.map(|segment| Segment { time, ..segment }));
            }
            _ => {}
        }
        at += length;
    }
    segments
}

/// The segment in a frame of this link type: LINKTYPE_... in pcap-linktype(7). `frame` is what was kept of it, `original`
/// its length on the wire.
fn segment(frame: &[u8], original: usize, link: u32) -> Option<Segment> {
    // What `-i any` captures comes twice, once as it leaves and once as it arrives.
    const OUTGOING: u16 = 4;
    let big = Bytes(frame, false);
    let skip = match link {
        0 | 108 => 4,
        1 => 14,
        12 | 14 | 101 | 228 | 229 => 0,
        113 if big.u16(0) == Some(OUTGOING) => return None,
        113 => 16,
        276 if frame.get(10) == Some(&4) => return None,
        276 => 20,
        _ => return None,
    };
    let ip = frame.get(skip..)?;
    let big = Bytes(ip, false);
    let (header, whole) = match ip.first()? >> 4 {
        4 if ip.get(9) == Some(&6) => (usize::from(ip[0] & 15) * 4, usize::from(big.u16(2)?)),
        6 if ip.get(6) == Some(&6) => (40, 40 + usize::from(big.u16(4)?)),
        _ => return None,
    };
    let tcp = ip.get(header..)?;
    let big = Bytes(tcp, false);
    let words = usize::from(tcp.get(12)? >> 4);
    let mut found = Segment {
        from: big.u16(0)?,
        to: big.u16(2)?,
        seq: big.u32(4)?,
        ack: big.u32(8)?,
        flags: *tcp.get(13)?,
        window: big.u16(14)?,
        // Behind a segment of 64 KiB and more, made by the kernel for itself, the field is 0.
        length: whole
            .checked_sub(header + words * 4)
            .unwrap_or(original.saturating_sub(skip + header + words * 4)) as u32,
        ..Segment::default()
    };
    let mut options = tcp.get(20..words * 4).unwrap_or_default();
    while let [kind, rest @ ..] = options {
        let length = match kind {
            0 => break,
            1 => 1,
            _ => usize::from(*rest.first().unwrap_or(&0)).max(2),
        };
        found.mss = found.mss.or((*kind == 2).then(|| Bytes(options, false).u16(2)).flatten());
        found.sack |= *kind == 5;
        options = options.get(length..).unwrap_or_default();
    }
    Some(found)
}

/// `12:00:00.5 IP 127.0.0.1.5 > 127.0.0.1.6: Flags [S.], seq 1:9, ack 2, win 3, options [...], length 8`
fn text(text: &str) -> Vec<Segment> {
    text.lines().filter_map(line).collect()
}

fn line(line: &str) -> Option<Segment> {
    let (head, tail) = line.split_once(": Flags [")?;
    let (left, right) = head.split_once(" > ")?;
    let port = |address: &str| address.rsplit_once('.').and_then(|(_, port)| port.parse().ok());
    let (flags, fields) = tail.split_once(']')?;
    let flag = |flag: char| match flag {
        'F' => 1,
        'S' => 2,
        'R' => 4,
        'P' => 8,
        '.' => 16,
        _ => 0,
    };
    let number = |name: &str| {
        let rest = fields.split_once(&format!("{name} "))?.1;
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        rest[..end].parse::<u32>().ok()
    };
    let clock = line.split_whitespace().find(|word| word.contains(':') && word.contains('.'))?;
    let time = clock.split(':').filter_map(|part| part.parse::<f64>().ok());
    Some(Segment {
        time: time.fold(0.0, |sum, part| sum * 60.0 + part),
        from: port(left.split_whitespace().last()?)?,
        to: port(right)?,
        flags: flags.chars().map(flag).sum(),
        seq: number("seq").unwrap_or(0),
        ack: number("ack").unwrap_or(0),
        window: number("win").and_then(|window| window.try_into().ok()).unwrap_or(0),
        length: number("length").unwrap_or(0),
        mss: number("mss").and_then(|mss| mss.try_into().ok()),
        sack: fields.contains("sack 1 ") || fields.contains("sack 2 ") || fields.contains("sack 3 "),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYN: Segment = Segment {
        time: 1.5,
        from: 5,
        to: 6,
        flags: 2,
        seq: 7,
        ack: 0,
        window: 8,
        length: 0,
        mss: Some(9),
        sack: false,
    };

    /// An IPv4 packet that holds it.
    fn packet() -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 44, 0, 0, 0, 0, 64, 6, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1];
        packet.extend([0, 5, 0, 6, 0, 0, 0, 7, 0, 0, 0, 0, 0x60, 2, 0, 8, 0, 0, 0, 0, 2, 4, 0, 9]);
        packet
    }

    fn u32s(numbers: &[u32]) -> Vec<u8> {
        numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
    }

    #[test]
    fn one_segment_in_every_format() {
        let packet = packet();
        let length = packet.len() as u32;
        let mut classic = u32s(&[0xa1b2_c3d4, 0, 0, 0, 0, 101, 1, 500_000, length, length]);
        classic.extend(&packet);
        assert_eq!(read(&classic), Ok(vec![SYN]));
        // Cut off anywhere, it is read as far as it goes.
        for end in 0..classic.len() {
            assert!(read(&classic[..end]).is_ok_and(|found| found.is_empty()), "{end}");
        }
        let mut ng = u32s(&[0x0a0d_0d0a, 28, 0x1a2b_3c4d, 1, 0, 0, 28, 1, 20, 101, 0, 20]);
        ng.extend(u32s(&[6, 32 + length, 0, 0, 1_500_000, length, length]));
        ng.extend(&packet);
        ng.extend(u32s(&[32 + length]));
        assert_eq!(read(&ng), Ok(vec![SYN]));
        for end in 4..ng.len() {
            assert!(read(&ng[..end]).is_ok_and(|found| found.is_empty()), "{end}");
        }
        let text = "00:00:01.500000 IP 127.0.0.1.5 > 127.0.0.1.6: Flags [S], seq 7, win 8, options [mss 9], length 0\n";
        assert_eq!(read(text.as_bytes()), Ok(vec![SYN]));
    }

    #[test]
    fn a_packet_of_which_only_the_beginning_was_kept_has_its_whole_length() {
        let kept = packet();
        for (field, original) in [(1_000_u16, 1_000), (0, 70_000)] {
            let mut kept = kept.clone();
            kept[2..4].copy_from_slice(&field.to_be_bytes());
            assert_eq!(segment(&kept, original, 101).unwrap().length, original as u32 - 44, "{field}");
        }
    }

    #[test]
    fn links_have_headers_of_their_own() {
        for (link, header) in [(0, 4), (1, 14), (101, 0), (113, 16), (276, 20)] {
            let frame: Vec<u8> = std::iter::repeat_n(0, header).chain(packet()).collect();
            assert_eq!(segment(&frame, frame.len(), link), Some(Segment { time: 0.0, ..SYN }), "{link}");
        }
    }
}
