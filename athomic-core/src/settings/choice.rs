//! Settings that take one of a few words.

use crate::handler::Priorities;

/// The words of one such setting.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Words {
    /// Every word that the schema knows.
    pub(crate) known: &'static [&'static str],
    /// Those of them whose runtime does not exist yet, so that they are refused.
    pub(crate) not_built: &'static [&'static str],
}

impl Words {
    /// Return the words that are accepted today.
    pub(crate) fn accepted(self) -> Vec<&'static str> {
        self.known
            .iter()
            .copied()
            .filter(|word| !self.not_built.contains(word))
            .collect()
    }
}

/// A type that is written as one of a few words.
pub(crate) trait Choice: Copy + 'static {
    /// The words.
    const WORDS: Words;

    /// Return the value that `word` stands for, whether built or not.
    fn from_word(word: &str) -> Option<Self>;
}

/// Define an enum, the words for its variants, and the known words that are refused for now.
macro_rules! choice {
    (
        $(#[$meta:meta])*
        pub enum $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)+ }
        not built: [$($planned:literal),*]
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// Return the word that stands for this value in the settings.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl $crate::settings::choice::Choice for $name {
            const WORDS: $crate::settings::choice::Words =
                $crate::settings::choice::Words { known: &[$($word,)+ $($planned,)*], not_built: &[$($planned),*] };

            fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}
pub(crate) use choice;

impl Choice for Priorities {
    const WORDS: Words = Words {
        known: &["normal", "high", "low", "weighted"],
        not_built: &[],
    };

    fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|priority| priority.as_str() == word)
    }
}
