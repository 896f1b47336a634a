//! The chat as one would write it without thinking of speed: who is in the room, and what the rules say.
//!
//! Every answer and every notice of the server is compared with this one's. It knows no connection, no encoding and
//! no order but that in which it is asked.

use std::ops::RangeInclusive;

/// Somebody, and the number that his made-up names have.
pub type Who = u16;

/// What no name may have, as the protocol page lists it.
pub const HIDDEN: &[RangeInclusive<char>] = &[
    '\0'..='\u{1F}',
    '\u{7F}'..='\u{9F}',
    '\u{AD}'..='\u{AD}',
    '\u{34F}'..='\u{34F}',
    '\u{61C}'..='\u{61C}',
    '\u{115F}'..='\u{1160}',
    '\u{17B4}'..='\u{17B5}',
    '\u{180B}'..='\u{180F}',
    '\u{200B}'..='\u{200F}',
    '\u{2028}'..='\u{202E}',
    '\u{2060}'..='\u{206F}',
    '\u{3164}'..='\u{3164}',
    '\u{FE00}'..='\u{FE0F}',
    '\u{FEFF}'..='\u{FEFF}',
    '\u{FFA0}'..='\u{FFA0}',
    '\u{FFF9}'..='\u{FFFB}',
    '\u{E0000}'..='\u{E0FFF}',
];

/// Why a rule refuses: code and text.
pub type Refused = (i32, String);

#[derive(Default)]
pub struct Room {
    pub users: Vec<(Who, String)>,
    pub reject_duplicates: bool,
}

impl Room {
    pub fn name_of(&self, who: Who) -> Option<String> {
        self.users.iter().find(|user| user.0 == who).map(|user| user.1.clone())
    }

    /// The name he has now, and the notices to the others.
    pub fn join(&mut self, who: Who, asked: Option<&str>) -> Result<(String, Vec<String>), Refused> {
        let name = asked.map_or(format!("User_{who}"), |asked| asked.trim().to_owned());
        let bad = |text: &str| Err((-32020, text.to_owned()));
        if name.is_empty() {
            return bad("Username cannot be empty");
        }
        if name.chars().count() > 50 {
            return bad("Username too long");
        }
        let is_hidden = |c: &char| HIDDEN.iter().any(|range| range.contains(c));
        if let Some(c) = name.chars().find(is_hidden) {
            return bad(&format!("Username contains a forbidden character (U+{:04X})", u32::from(c)));
        }
        if name.to_uppercase() == "SYSTEM" {
            return bad("Username is reserved");
        }
        let taken = |name: &str| self.users.iter().any(|user| user.1 == name && user.0 != who);
        let digits = name.strip_prefix("User_").unwrap_or("");
        let foreign =
            !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) && digits != who.to_string();
        let mut free = name.clone();
        if taken(&name) || foreign {
            if self.reject_duplicates {
                return Err((-32021, "Username already taken".to_owned()));
            }
            let mut tries = std::iter::once(format!("_{who}")).chain((2..).map(|n| format!("_{who}_{n}")));
            free = loop {
                let suffix = tries.next().unwrap();
                let cut: String = name.chars().take(50 - suffix.chars().count()).collect();
                if !taken(&format!("{cut}{suffix}")) {
                    break cut + &suffix;
                }
            };
        }
        if self.name_of(who).as_ref() == Some(&free) {
            return Ok((free, Vec::new()));
        }
        let mut notices: Vec<String> = self.leave(who).into_iter().collect();
        notices.push(format!("{free} has joined the chat!"));
        self.users.push((who, free.clone()));
        Ok((free, notices))
    }

    /// The notice to the others, if he was in.
    pub fn leave(&mut self, who: Who) -> Option<String> {
        let place = self.users.iter().position(|user| user.0 == who)?;
        Some(format!("{} has left the chat!", self.users.remove(place).1))
    }

    /// Who speaks, and what the others hear.
    pub fn say(&self, who: Who, text: &str) -> Result<(String, String), Refused> {
        let text = text.trim();
        match text.chars().count() {
            0 => Err((-32022, "Message cannot be empty".to_owned())),
            1..=1000 => Ok((self.name_of(who).unwrap_or(format!("User_{who}")), text.to_owned())),
            _ => Err((-32023, "Message too long".to_owned())),
        }
    }
}
