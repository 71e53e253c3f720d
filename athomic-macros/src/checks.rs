//! What can be known of a single value when compiling: topic names, durations, field paths.

use std::time::Duration;

/// The longest topic name that Kafka takes.
const TOPIC_LENGTH: usize = 249;

/// Say what is wrong with a topic's name. The twin of `athomic_core::message::check_topic_name`,
/// which checks the names that come by way of constants.
pub(crate) fn topic_name(name: &str) -> Result<(), String> {
    let illegal = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
    if name.is_empty() {
        Err("topic is empty".to_owned())
    } else if name == "." || name == ".." {
        Err(format!("topic cannot be `{name}`"))
    } else if let Some(c) = name.chars().find(|&c| illegal(c)) {
        Err(format!("topic contains {}", describe(c)))
    } else if name.len() > TOPIC_LENGTH {
        Err(format!("topic has {} characters", name.len()))
    } else {
        Ok(())
    }
}

/// How to mend a topic's name.
pub(crate) const TOPIC_HELP: &str = "use letters, digits, `.`, `_`, `-`, 249 characters at most";

fn describe(c: char) -> String {
    match c {
        ' ' => "a space".to_owned(),
        c if c.is_control() => format!("the control character {}", c.escape_default()),
        c => format!("`{c}`"),
    }
}

/// Read a duration, which may be zero: a whole number with its unit, or several (`1h30m`).
pub(crate) fn duration(text: &str) -> Result<Duration, &'static str> {
    if text.is_empty() {
        return Err("this is not a duration");
    }
    let mut rest = text;
    let mut millis: u64 = 0;
    while !rest.is_empty() {
        let (part, unread) = duration_part(rest)?;
        millis = millis.checked_add(part).ok_or("this duration is too long")?;
        rest = unread;
    }
    Ok(Duration::from_millis(millis))
}

fn duration_part(text: &str) -> Result<(u64, &str), &'static str> {
    let split = |text: &str, inside: fn(char) -> bool| text.find(|c| !inside(c)).unwrap_or(text.len());
    let (number, rest) = text.split_at(split(text, |c| c.is_ascii_digit()));
    let (unit, rest) = rest.split_at(split(rest, |c| c.is_ascii_alphabetic()));
    let unit: u64 = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 60 * 60 * 1000,
        "d" => 24 * 60 * 60 * 1000,
        _ => return Err("this is not a duration"),
    };
    if number.is_empty() {
        return Err("this is not a duration");
    }
    let millis = number
        .parse()
        .ok()
        .and_then(|number: u64| number.checked_mul(unit));
    Ok((millis.ok_or("this duration is too long")?, rest))
}

/// Split a path of fields (`customer.id`) and say what is wrong with it.
pub(crate) fn field_path(path: &str) -> Result<Vec<&str>, String> {
    let parts: Vec<_> = path.split('.').collect();
    match parts.iter().find(|part| !is_field(part)) {
        None => Ok(parts),
        Some(&"") if path.is_empty() => Err("the name of the field is empty".to_owned()),
        Some(&"") => Err(format!("`{path}` has a dot too many")),
        Some(part) => Err(format!("`{part}` cannot be a field")),
    }
}

fn is_field(part: &str) -> bool {
    let mut letters = part.chars();
    let named = letters.next().is_some_and(|c| c == '_' || c.is_alphabetic())
        && letters.all(|c| c == '_' || c.is_alphanumeric());
    let numbered = !part.is_empty() && part.chars().all(|c| c.is_ascii_digit());
    (named && part != "_") || numbered
}

/// Find the name that `written` was most likely meant to be.
pub(crate) fn nearest<'a>(written: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let is_near = |distance: usize, name: &str| distance <= 1 + written.len().min(name.len()) / 4;
    let contains = |name: &str| written.len() >= 4 && (name.starts_with(written) || name.ends_with(written));
    names
        .map(|name| (if contains(name) { 1 } else { edits(written, name) }, name))
        .filter(|&(distance, name)| is_near(distance, name))
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, name)| name)
}

/// Count the letters to insert, remove or replace.
fn edits(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &b) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_what_kafka_takes() {
        for name in ["a", "user.events.v1", "A_b-9", "...", &"x".repeat(249)] {
            assert_eq!(topic_name(name), Ok(()), "{name}");
        }
        let check = |name: &str, wrong: &str| assert_eq!(topic_name(name), Err(wrong.to_owned()));
        check("", "topic is empty");
        check("..", "topic cannot be `..`");
        check("pay ments", "topic contains a space");
        check("a/b", "topic contains `/`");
        check("ünder", "topic contains `ü`");
        check("a\tb", "topic contains the control character \\t");
        check(&"x".repeat(250), "topic has 250 characters");
    }

    #[test]
    fn durations_carry_their_units() {
        let check = |text: &str, millis: u64| assert_eq!(duration(text), Ok(Duration::from_millis(millis)));
        check("250ms", 250);
        check("10s", 10_000);
        check("1h30m", 5_400_000);
        check("7d", 604_800_000);
        check("0s", 0);
        for wrong in ["", "10", "s", "1.5s", "10 s", "-1s", "1w"] {
            assert_eq!(duration(wrong), Err("this is not a duration"), "{wrong}");
        }
        assert_eq!(duration("99999999999999999d"), Err("this duration is too long"));
        assert_eq!(
            duration("99999999999999999999s"),
            Err("this duration is too long")
        );
    }

    #[test]
    fn fields_may_be_dotted() {
        assert_eq!(field_path("order_id"), Ok(vec!["order_id"]));
        assert_eq!(field_path("customer.id.0"), Ok(vec!["customer", "id", "0"]));
        for wrong in ["", "a..b", ".a", "a b", "a()", "_", "1a"] {
            assert!(field_path(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_nearest_name_is_near() {
        let names = ["topic", "group_id", "concurrency", "batch_size", "fetch_size"];
        let check = |written, expected| assert_eq!(nearest(written, names.into_iter()), expected);
        check("topics", Some("topic"));
        check("concurency", Some("concurrency"));
        check("group", Some("group_id"));
        check("batchsize", Some("batch_size"));
        check("colour", None);
    }
}
