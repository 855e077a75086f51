//! What a subscription of 2026-07-28 asks for (Subscriptions, Notification Filter).

use crate::message::Message;
use crate::object::Object;
use crate::rpc_error::RpcError;
use crate::subscriptions::Subscriptions;

/// Which notifications a client wants on its `subscriptions/listen` stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// `notifications/tools/list_changed`.
    pub tools: bool,
    /// `notifications/prompts/list_changed`.
    pub prompts: bool,
    /// `notifications/resources/list_changed`.
    pub resources: bool,
    /// `notifications/resources/updated`, for these URIs.
    pub updates: Vec<String>,
}

impl Filter {
    /// What a `subscriptions/listen` asks for, or an acknowledgement grants. The refusal if it names more
    /// resources than a session may subscribe to.
    pub fn from_message(message: &Message) -> Result<Self, RpcError> {
        let asked = message.params().object("notifications").unwrap_or_default();
        let flag = |name: &str| asked.read(name).unwrap_or(false);
        let named: Vec<String> = asked.read("resourceSubscriptions").unwrap_or_default();
        let mut updates = Subscriptions::default();
        for uri in &named {
            updates.add(uri)?;
        }
        Ok(Self {
            tools: flag("toolsListChanged"),
            prompts: flag("promptsListChanged"),
            resources: flag("resourcesListChanged"),
            updates: updates.uris().to_vec(),
        })
    }

    /// What a server with these capabilities can grant of it.
    #[must_use]
    pub fn granted(&self, capabilities: &Object) -> Self {
        let can = |feature: &str, what: &str| {
            let feature = capabilities.object(feature).unwrap_or_default();
            feature.read(what).unwrap_or(false)
        };
        Self {
            tools: self.tools && can("tools", "listChanged"),
            prompts: self.prompts && can("prompts", "listChanged"),
            resources: self.resources && can("resources", "listChanged"),
            updates: if can("resources", "subscribe") {
                self.updates.clone()
            } else {
                Vec::new()
            },
        }
    }

    /// Everything that a server with these capabilities tells without being asked, and the updates
    /// of these resources.
    pub fn everything(capabilities: &Object, updates: Vec<String>) -> Self {
        Self {
            tools: true,
            prompts: true,
            resources: true,
            updates,
        }
        .granted(capabilities)
    }

    /// Whether it asks for nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a notification is among what was asked for.
    pub fn takes(&self, notification: &Message) -> bool {
        match notification.method() {
            "notifications/tools/list_changed" => self.tools,
            "notifications/prompts/list_changed" => self.prompts,
            "notifications/resources/list_changed" => self.resources,
            "notifications/resources/updated" => notification
                .params()
                .text("uri")
                .is_some_and(|uri| self.updates.contains(&uri)),
            _ => false,
        }
    }

    /// As it stands in a message; what is not asked for is left out.
    pub fn object(&self) -> Object {
        let mut object = Object::new();
        for (name, wanted) in [
            ("toolsListChanged", self.tools),
            ("promptsListChanged", self.prompts),
            ("resourcesListChanged", self.resources),
        ] {
            if wanted {
                object.set(name, &true);
            }
        }
        if !self.updates.is_empty() {
            object.set("resourceSubscriptions", &self.updates);
        }
        object
    }
}
