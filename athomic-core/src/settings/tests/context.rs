//! What context travels with messages.

use super::*;
use crate::settings::ContextField;

#[test]
fn fields_and_untrusted_topics_are_read() {
    let text = "[context]\npropagate = ['tenant_id', 'span_id']\nuntrusted_topics = ['public', 'web.*', '*']";
    let context = loaded(loader(text)).settings.context;
    assert_eq!(context.propagate, [ContextField::TenantId, ContextField::SpanId]);
    assert_eq!(context.untrusted_topics, ["public", "web.*", "*"]);
}

#[test]
fn what_is_no_field_and_no_topic_is_named() {
    check_faults(
        "[context]\npropagate = ['tenant']\nuntrusted_topics = ['a b', 'a*b']",
        &[
            "settings.toml:2:13: `context.propagate`: `tenant` is not one of `request_id`, `trace_id`, `span_id`, \
             `tenant_id`, `user_id`, `role`, `locale`, `correlation_id`, `feature_flags`; did you mean `tenant_id`?",
            "settings.toml:3:20: `context.untrusted_topics`: `a b` means no topic: write a name, or the beginning of one and `*`",
            "settings.toml:3:20: `context.untrusted_topics`: `a*b` means no topic: write a name, or the beginning of one and `*`",
        ],
    );
}
