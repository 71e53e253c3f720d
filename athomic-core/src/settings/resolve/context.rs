//! What was written about context, checked.

use super::Resolver;
use crate::message::check_topic_name;
use crate::settings::error::Problem;
use crate::settings::raw::{Field, RawContext};
use crate::settings::resolved::ContextSettings;

impl Resolver<'_> {
    pub(super) fn context(&mut self, raw: &RawContext) -> ContextSettings {
        let default = ContextSettings::default();
        ContextSettings {
            propagate: self.choices(&raw.propagate, default.propagate),
            untrusted_topics: self.untrusted_topics(&raw.untrusted_topics),
        }
    }

    fn untrusted_topics(&mut self, field: &Field<Vec<String>>) -> Vec<String> {
        let Some(written) = field else { return Vec::new() };
        for topic in &written.value {
            let name = topic.strip_suffix('*').unwrap_or(topic);
            if topic != "*" && check_topic_name(name).is_err() {
                let reason =
                    format!("`{topic}` means no topic: write a name, or the beginning of one and `*`");
                self.faults.push(written.fault(Problem::invalid(reason)));
            }
        }
        written.value.clone()
    }
}
