//! Which tools of a list stay on its way to a token: decided anew for each answer, whether its list was
//! read now or is known (`known_lists`).

use super::known_lists::ReadList;
use super::policy_input::{self, DecisionContext};
use super::tool_list_filter::ToolListFilter;
use gateway_core::grants::{NotAllowed, Pin, ToolState};
use gateway_core::policy::rules::{RequestedAction, Rules};
use gateway_core::reason::Reason;
use mcp_protocol::tool_definition::Definition;

/// A definition that passes by, by its name.
type ListedTool<'l> = (&'l str, Pin);

impl ToolListFilter<'_> {
    /// The text that a list was read from, or one that says the same, without what the token does not
    /// allow. `None`: unchanged.
    pub(super) async fn cut(&self, list: &ReadList, text: &[u8]) -> Option<Vec<u8>> {
        let catalogue = self.dependencies.catalogue;
        let definitions = catalogue.definitions();
        definitions.tell_unfit(self.backend(), list.unfit());
        let admitted: Vec<_> = list
            .definitions()
            .map(|(definition, pin)| self.admit(definition, pin))
            .collect();
        let mut judged = list.definitions().zip(&admitted);
        if judged.any(|((definition, _), admitted)| self.is_doubtful(definition, *admitted)) {
            // What comes of it is remembered; without it the tool is hidden.
            let _ = catalogue.listing(self.backend(), Some(self.user())).await;
        }
        // The other one may stand on another page.
        let elsewhere = policy_input::doubled(catalogue, self.token, self.mounted);
        let is_doubled = |name: &str| {
            let elsewhere = elsewhere.as_ref();
            list.doubled().contains(name)
                || elsewhere.is_some_and(|listing| listing.doubled.contains(name))
        };
        let policy = self.dependencies.policy.current();
        let now = self.dependencies.clock.now();
        let rules = policy.as_deref();
        let around = DecisionContext::new(self.token, self.mounted, self.context, now, rules);
        let policy = rules.map(|rules| (rules, &around));
        let mut seen: Vec<ListedTool<'_>> = Vec::new();
        let kept: Vec<bool> = list
            .definitions()
            .zip(admitted)
            .map(|((definition, pin), admitted)| {
                !is_doubled(definition.name())
                    && self.token_shows(definition, pin, admitted, &mut seen)
                    && policy
                        .is_none_or(|(rules, around)| self.policy_shows(definition, rules, around))
            })
            .collect();
        definitions.record(self.backend(), self.caller(), seen);
        list.cut(text, |at| kept.get(at).is_some_and(|kept| *kept))
    }

    /// Whether a tool differs from what was allowed, and it is not known whether only because this
    /// list leaves something out.
    fn is_doubtful(&self, definition: &Definition, admitted: Result<(), NotAllowed>) -> bool {
        admitted == Err(NotAllowed::Changed) && self.is_part(definition).is_none()
    }

    fn admit(&self, definition: &Definition, pin: Pin) -> Result<(), NotAllowed> {
        let name = definition.name();
        let current = || ToolState::Defined(pin);
        self.token.shows(name, definition.reads_only(), current)
    }

    fn is_part(&self, definition: &Definition) -> Option<bool> {
        let pin = self.token.pin(definition.name())?;
        let definitions = self.dependencies.catalogue.definitions();
        definitions.is_part_of_pinned(self.backend(), self.caller(), definition, pin)
    }

    /// Whether the operator's policy allows some call of the tool. What the list leaves out for
    /// clients of older revisions is known from the whole one.
    fn policy_shows(
        &self,
        definition: &Definition,
        rules: &Rules,
        around: &DecisionContext<'_>,
    ) -> bool {
        let mut labels = definition.labels();
        if labels.are_absent() && rules.asks_for_labels() {
            let catalogue = self.dependencies.catalogue;
            let known = catalogue.cached_labels(self.backend(), self.caller(), definition.name());
            labels = known.unwrap_or(labels);
        }
        let asked = RequestedAction::tool(definition.name(), labels, None);
        rules.may_call(self.token.last_id(), &around.facts(), &asked)
    }

    fn token_shows<'l>(
        &self,
        definition: &'l Definition,
        pin: Pin,
        admitted: Result<(), NotAllowed>,
        seen: &mut Vec<ListedTool<'l>>,
    ) -> bool {
        let mut see = || {
            if self.token.pin(definition.name()).is_some() {
                seen.push((definition.name(), pin));
            }
        };
        match admitted {
            Ok(()) => {
                see();
                true
            }
            Err(NotAllowed::Changed) if self.is_part(definition) == Some(true) => true,
            Err(NotAllowed::Changed) => {
                see();
                self.tell_hidden(definition);
                false
            }
            Err(NotAllowed::Never | NotAllowed::Unknown | NotAllowed::Doubled) => false,
        }
    }

    fn tell_hidden(&self, definition: &Definition) {
        let reason = Reason::ToolDefinitionChanged;
        let context = self.context;
        let tool: String = definition
            .name()
            .chars()
            .filter(|c| !c.is_control())
            .take(64)
            .collect();
        log::warn!(
            event = "tool_hidden", reason = reason.code(), hint = reason.remedy(), tool = tool,
            backend = self.backend(), user = context.user(), client = context.client(), grant = context.grant(),
            request_id = context.id;
            "{}", reason.sentence()
        );
    }
}
