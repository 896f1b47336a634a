//! What a user may be called.
//!
//! Owns the rules for one name by itself: length, forbidden characters, reserved words. Whether somebody else has
//! it is the chat's business. Lengths count Unicode scalar values after trimming.

use crate::api::Fault;

/// Error code of a name that breaks a rule.
pub const BAD_NAME: i32 = -32020;

/// The name in `asked`, without space around it: of at most `most` characters.
///
/// # Errors
/// -32020 with the rule that it breaks.
pub fn check(asked: &str, most: usize) -> Result<&str, Fault> {
    let name = asked.trim();
    if name.is_empty() {
        return Err(Fault::rule(BAD_NAME, "Username cannot be empty"));
    }
    if name.chars().count() > most {
        return Err(too_long());
    }
    if let Some(character) = name.chars().find(|&character| is_forbidden(character)) {
        let code = u32::from(character);
        return Err(Fault::rule(BAD_NAME, format!("Username contains a forbidden character (U+{code:04X})")));
    }
    // Upper case by Unicode, so that no look-alike such as U+017F (long s) slips through.
    if name.to_uppercase() == "SYSTEM" {
        return Err(Fault::rule(BAD_NAME, "Username is reserved"));
    }
    Ok(name)
}

/// What is said of a name with too many characters.
pub fn too_long() -> Fault {
    Fault::rule(BAD_NAME, "Username too long")
}

/// The name of one who gave none.
pub fn made_up(number: u64) -> String {
    format!("User_{number}")
}

/// Whether `name` looks made up, but not for the peer with this number: it would pass for somebody else.
pub fn is_made_up_for_another(name: &str, number: u64) -> bool {
    name.strip_prefix("User_").is_some_and(|digits| {
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) && name != made_up(number)
    })
}

/// `base` with `suffix` behind it, the base cut so that the whole has at most `most` characters.
pub fn with_suffix(base: &str, suffix: &str, most: usize) -> String {
    let room = most.saturating_sub(suffix.chars().count());
    base.chars().take(room).collect::<String>() + suffix
}

/// Characters that can hide, reverse or break a line: controls, bidirectional controls, zero-width characters and
/// line separators. The protocol page lists them by code point.
fn is_forbidden(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{00AD}'                  // soft hyphen
            | '\u{034F}'                // combining grapheme joiner
            | '\u{061C}'                // Arabic letter mark
            | '\u{115F}' | '\u{1160}'   // Hangul fillers
            | '\u{17B4}' | '\u{17B5}'   // Khmer inherent vowels
            | '\u{180B}'..='\u{180F}'   // Mongolian selectors and vowel separator
            | '\u{200B}'..='\u{200F}'   // zero-width space, joiners, left-to-right and right-to-left marks
            | '\u{2028}'..='\u{202E}'   // line and paragraph separators, bidirectional embeddings and overrides
            | '\u{2060}'..='\u{206F}'   // word joiner, invisible operators, bidirectional isolates
            | '\u{3164}' | '\u{FFA0}'   // Hangul fillers
            | '\u{FE00}'..='\u{FE0F}'   // variation selectors
            | '\u{FEFF}'                // zero-width no-break space
            | '\u{FFF9}'..='\u{FFFB}'   // interlinear annotation
            | '\u{E0000}'..='\u{E0FFF}' // tags, variation selectors supplement
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(name: &str) -> String {
        check(name, 50).unwrap_err().message.into_owned()
    }

    #[test]
    fn every_rule_says_which() {
        for (name, text) in [
            ("", "Username cannot be empty"),
            (" \t\u{3000}", "Username cannot be empty"),
            (&"x".repeat(51), "Username too long"),
            ("a\u{7}b", "Username contains a forbidden character (U+0007)"),
            ("a\nb", "Username contains a forbidden character (U+000A)"),
            ("a\u{9b}b", "Username contains a forbidden character (U+009B)"),
            ("a\u{202e}b", "Username contains a forbidden character (U+202E)"),
            ("a\u{200b}", "Username contains a forbidden character (U+200B)"),
            ("\u{feff}a", "Username contains a forbidden character (U+FEFF)"),
            ("a\u{e0041}", "Username contains a forbidden character (U+E0041)"),
            ("SYSTEM", "Username is reserved"),
            (" sYsTeM ", "Username is reserved"),
            ("\u{17f}ystem", "Username is reserved"),
        ] {
            assert_eq!(refused(name), text, "{name:?}");
            assert_eq!(check(name, 50).unwrap_err().code, BAD_NAME);
        }
    }

    #[test]
    fn what_is_legal_stays_as_it_is() {
        for name in ["a", "Åsa Müller", "日本語", "😀", "SYSTEMS", &"é".repeat(50)] {
            assert_eq!(check(&format!("  {name}\n"), 50), Ok(name));
        }
    }

    #[test]
    fn a_foreign_made_up_name_is_known() {
        assert!(is_made_up_for_another("User_1", 2));
        assert!(is_made_up_for_another("User_02", 2));
        assert!(!is_made_up_for_another("User_2", 2));
        assert!(!is_made_up_for_another("User_", 2));
        assert!(!is_made_up_for_another("User_2a", 3));
        assert!(!is_made_up_for_another("user_2", 3));
    }

    #[test]
    fn a_suffix_cuts_the_base_and_never_itself() {
        assert_eq!(with_suffix("Alice", "_5000", 50), "Alice_5000");
        let long = with_suffix(&"é".repeat(50), "_5000_2", 50);
        assert_eq!(long.chars().count(), 50);
        assert!(long.ends_with("é_5000_2"));
    }
}
