//! Find the known name that a misspelt one was probably meant to be.
//!
//! Used wherever a name comes from a human: settings keys, values, profiles, handler ids.

/// Return the candidate that is closest to `word`, if one is close enough to be worth suggesting.
///
/// Letter case and the difference between `-` and `_` do not count. A candidate is close enough if
/// no more than a third of its letters (at least one) have to change. Of equally close candidates the
/// first wins, so that the answer does not depend on anything but the order given.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = folded(word);
    let mut best: Option<(usize, &'a str)> = None;
    for candidate in candidates {
        let letters = folded(candidate);
        let distance = distance(&word, &letters);
        let allowed = (letters.len().max(word.len()) / 3).max(1);
        if distance <= allowed && best.is_none_or(|(closest, _)| distance < closest) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

fn folded(word: &str) -> Vec<char> {
    word.chars()
        .flat_map(char::to_lowercase)
        .map(|letter| if letter == '-' { '_' } else { letter })
        .collect()
}

/// Count the letters to insert, remove, replace or swap with their neighbour to get from `a` to `b`.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, &from) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, &to) in b.iter().enumerate() {
            let replaced = last[j] + usize::from(from != to);
            let mut cost = replaced.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && from == b[j - 1] && a[i - 1] == to {
                cost = cost.min(before_last[j - 1] + 1);
            }
            row.push(cost);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 4] = ["group_id", "topic", "concurrency", "client_id"];

    fn check(word: &str, expected: Option<&str>) {
        assert_eq!(nearest(word, KEYS), expected, "{word}");
    }

    #[test]
    fn one_wrong_letter_is_recognised() {
        check("topics", Some("topic"));
        check("topik", Some("topic"));
        check("tpoic", Some("topic"));
        check("groupid", Some("group_id"));
    }

    #[test]
    fn case_and_hyphens_do_not_count() {
        check("Group-ID", Some("group_id"));
        check("CONCURRENCY", Some("concurrency"));
    }

    #[test]
    fn unrelated_words_get_no_suggestion() {
        check("retry", None);
        check("", None);
    }

    #[test]
    fn the_closest_of_several_wins() {
        assert_eq!(nearest("lingr", ["linger_ms", "linger"]), Some("linger"));
    }
}
