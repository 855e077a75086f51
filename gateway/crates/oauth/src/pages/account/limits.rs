//! What a person uses of limits.

use super::super::text::{LONGEST_NAME, clean};

/// How the limits of a person's stand.
#[derive(Clone, Debug, Default)]
pub struct LimitsInUse {
    /// Each count of each of them.
    pub lines: Vec<LimitUse>,
    /// Whether there are more, of apps that were not asked for.
    pub is_cut: bool,
}

impl LimitsInUse {
    /// What may be shown of them.
    pub(super) fn shown(&self) -> Self {
        Self {
            lines: self.lines.iter().map(LimitUse::shown).collect(),
            ..*self
        }
    }
}

/// One count of a limit, and how it stands.
#[derive(Clone, Debug)]
pub struct LimitUse {
    /// What the limit is called.
    pub name: String,
    /// Whose calls count: `you`, an app, a group.
    pub whose: String,
    /// How much it is.
    pub words: String,
    /// The backend, where it is of one.
    pub backend: Option<String>,
    /// The tools, where it is of some.
    pub tool: Option<String>,
    /// What is used of a budget; nothing where nobody can say.
    pub used: Option<String>,
    /// What is left.
    pub left: Option<String>,
    /// Whether what is left comes back all the time, and not at midnight.
    pub is_rate: bool,
    /// Whether nothing is.
    pub is_reached: bool,
}

impl LimitUse {
    /// What may be shown of it.
    fn shown(&self) -> Self {
        let cleaned = |text: &Option<String>| text.as_deref().map(|it| clean(it, LONGEST_NAME));
        Self {
            whose: clean(&self.whose, LONGEST_NAME),
            backend: cleaned(&self.backend),
            tool: cleaned(&self.tool),
            ..self.clone()
        }
    }
}
