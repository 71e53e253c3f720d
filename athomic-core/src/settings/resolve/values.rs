//! Read single values: ranges, words, secrets.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::num::{NonZeroU16, NonZeroU32, NonZeroUsize};
use std::time::Duration;

use super::Resolver;
use crate::nearest::nearest;
use crate::settings::choice::Choice;
use crate::settings::error::Problem;
use crate::settings::raw::{Field, RawSecret, Written};
use crate::settings::secret::Secret;
use crate::settings::tree::SecretPlace;

/// The largest number of milliseconds, bytes or things: what client libraries take.
const MOST: i128 = i32::MAX as i128;

impl Resolver<'_> {
    pub(super) fn text(&mut self, field: &Field<String>) -> Option<String> {
        let written = field.as_ref()?;
        if written.value.trim().is_empty() {
            self.faults
                .push(written.fault(Problem::invalid("must not be empty")));
            return None;
        }
        Some(written.value.clone())
    }

    pub(super) fn servers(&mut self, field: &Field<Vec<String>>) -> Option<Vec<String>> {
        let written = field.as_ref()?;
        let problem: Option<Cow<'static, str>> = if written.value.is_empty() {
            Some("must name at least one broker, such as \"localhost:9092\"".into())
        } else {
            let odd = |server: &&String| server.is_empty() || server.contains([',', ' ', '\t', '\n']);
            written.value.iter().find(odd).map(|server| {
                format!("`{server}` is not `host:port`; write one broker per item of the list").into()
            })
        };
        if let Some(reason) = problem {
            self.faults.push(written.fault(Problem::Invalid { reason }));
            return None;
        }
        Some(written.value.clone())
    }

    pub(super) fn options(
        &mut self,
        field: &Field<BTreeMap<String, Written<String>>>,
        parent: &BTreeMap<String, String>,
    ) -> BTreeMap<String, String> {
        let mut options = parent.clone();
        for (name, written) in field.iter().flat_map(|written| &written.value) {
            if carries_a_secret(name) {
                let reason =
                    "an option with a secret in it cannot be handed over as text; use the `security` section";
                self.faults.push(written.fault(Problem::invalid(reason)));
            } else {
                options.insert(name.clone(), written.value.clone());
            }
        }
        options
    }

    /// Fetch a secret. It never appears in a fault.
    pub(super) fn secret(&mut self, field: &Field<RawSecret>) -> Option<Secret> {
        let written = field.as_ref()?;
        let fetched = match &written.value {
            RawSecret::Text(secret) => Ok(secret.clone()),
            RawSecret::Place(_) if !self.fetch_secrets => return None,
            RawSecret::Place(place) => self.fetch(place),
        };
        let fetched = fetched.and_then(|secret| {
            if secret.expose().is_empty() {
                Err("the secret is empty".to_owned())
            } else {
                Ok(secret)
            }
        });
        fetched
            .map_err(|reason| {
                self.faults
                    .push(written.fault(Problem::SecretUnavailable { reason }))
            })
            .ok()
    }

    fn fetch(&self, place: &SecretPlace) -> Result<Secret, String> {
        match place {
            SecretPlace::Environment(name) => match self.environment.get(name)? {
                Some(text) => Ok(Secret::new(text)),
                None => Err(format!("environment variable {name} is not set")),
            },
            SecretPlace::File(path) => {
                Secret::in_file(path).map_err(|error| format!("cannot read `{}`: {error}", path.display()))
            }
        }
    }

    pub(super) fn choice<C: Choice>(&mut self, field: &Field<String>, default: C) -> C {
        self.optional_choice(field).unwrap_or(default)
    }

    pub(super) fn optional_choice<C: Choice>(&mut self, field: &Field<String>) -> Option<C> {
        let written = field.as_ref()?;
        let word = written.value.as_str();
        let accepted = C::WORDS.accepted();
        let value = word.to_owned();
        let problem = if C::WORDS.not_built.contains(&word) {
            Problem::ValueNotBuilt { value, accepted }
        } else if let Some(choice) = C::from_word(word) {
            return Some(choice);
        } else {
            let nearest = nearest(word, accepted.iter().copied());
            Problem::UnknownValue {
                value,
                accepted,
                nearest,
            }
        };
        self.faults.push(written.fault(problem));
        None
    }

    pub(super) fn count<N: Count>(&mut self, field: &Field<i128>, default: N) -> N {
        self.optional_count(field).unwrap_or(default)
    }

    pub(super) fn optional_count<N: Count>(&mut self, field: &Field<i128>) -> Option<N> {
        let written = field.as_ref()?;
        let count = N::from_integer(written.value);
        if count.is_none() {
            let reason = format!("must be between 1 and {}", N::MOST);
            self.faults.push(written.fault(Problem::invalid(reason)));
        }
        count
    }

    /// Read a duration that may be zero.
    pub(super) fn milliseconds(&mut self, field: &Field<i128>, default: Duration) -> Duration {
        self.milliseconds_from(0, field).unwrap_or(default)
    }

    /// Read a duration that may not be zero.
    pub(super) fn some_milliseconds(&mut self, field: &Field<i128>, default: Duration) -> Duration {
        self.milliseconds_from(1, field).unwrap_or(default)
    }

    /// Read a duration that may be zero.
    pub(super) fn optional_milliseconds(&mut self, field: &Field<i128>) -> Option<Duration> {
        self.milliseconds_from(0, field)
    }

    fn milliseconds_from(&mut self, least: i128, field: &Field<i128>) -> Option<Duration> {
        let written = field.as_ref()?;
        match u64::try_from(written.value) {
            Ok(milliseconds) if (least..=MOST).contains(&written.value) => {
                Some(Duration::from_millis(milliseconds))
            }
            _ => {
                let reason = format!("must be between {least} and {MOST} milliseconds");
                self.faults.push(written.fault(Problem::invalid(reason)));
                None
            }
        }
    }

    /// Read a limit of which zero means that there is none.
    pub(super) fn timeout(&mut self, field: &Field<i128>, default: Option<Duration>) -> Option<Duration> {
        match self.milliseconds_from(0, field) {
            Some(timeout) => (!timeout.is_zero()).then_some(timeout),
            None => default,
        }
    }

    /// Read a duration that may be zero.
    pub(super) fn seconds(&mut self, field: &Field<f64>, default: Duration) -> Duration {
        let Some(written) = field else { return default };
        let duration = Duration::try_from_secs_f64(written.value).ok();
        #[expect(clippy::cast_precision_loss, reason = "far below the precision of the type")]
        let duration = duration.filter(|duration| duration.as_secs_f64() <= MOST as f64);
        duration.unwrap_or_else(|| {
            let reason = format!("must be between 0 and {MOST} seconds");
            self.faults.push(written.fault(Problem::invalid(reason)));
            default
        })
    }

    /// Read a duration that may not be zero.
    pub(super) fn some_seconds(&mut self, field: &Field<f64>, default: Duration) -> Duration {
        let duration = self.seconds(field, default);
        if let (true, Some(written)) = (duration.is_zero(), field) {
            self.faults
                .push(written.fault(Problem::invalid("must be more than 0 seconds")));
        }
        duration
    }
}

/// Return whether an option of the client library holds a password, key or token.
pub(super) fn carries_a_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    [
        "password",
        "passphrase",
        "secret",
        ".pem",
        "oauthbearer.config",
        "token.value",
    ]
    .iter()
    .any(|part| name.contains(part))
}

/// A number of things, at least one.
pub(super) trait Count: Copy {
    const MOST: i128;

    fn from_integer(integer: i128) -> Option<Self>;
}

/// `Count` for a type that can be made from a plain integer type.
macro_rules! count {
    ($($type:ty, $plain:ty, $most:expr;)*) => {$(
        impl Count for $type {
            const MOST: i128 = $most;

            fn from_integer(integer: i128) -> Option<Self> {
                let in_range = (1..=Self::MOST).contains(&integer);
                let plain = <$plain>::try_from(integer).ok().filter(|_| in_range)?;
                Self::try_from(plain).ok()
            }
        }
    )*};
}

count! {
    NonZeroUsize, usize, MOST;
    NonZeroU32, u32, MOST;
    NonZeroU16, u16, i16::MAX as i128;
    usize, usize, MOST;
}
