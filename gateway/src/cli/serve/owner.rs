//! The owner whom the configuration names: known from the start, and nobody else is any more.

use rand::rngs::OsRng;

use crate::app::App;
use crate::config::Config;
use gateway_core::audit::{Event, Record};
use gateway_oauth::identity::{ensure_owner, forget_former_owner, no_owner};
use gateway_oauth::revoke_all::{RevocationSubject, cut_off};

pub(super) async fn of_configuration(config: &Config, app: &App) -> anyhow::Result<()> {
    let (records, now) = (&app.server.records, app.server.clock.now());
    let Some(owner) = &config.owner else {
        for former in no_owner(records, now).await? {
            log::info!(
                event = "owner_not_configured", user = former.id.as_str();
                "the configuration no longer names {} as owner: a person like others", former.name
            );
        }
        return Ok(());
    };
    let former = ensure_owner(records, &owner.name, &owner.password, now, &mut OsRng).await?;
    for former in former {
        let cut = cut_off(
            &app.server.records,
            &app.server.settings,
            RevocationSubject::User(&former.id),
            now,
        )
        .await?;
        if let Some(error) = &cut.unreadable {
            // What can't be read is refused by its moment, and no reason not to serve.
            let reason = error.reason();
            log::error!(
                event = "former_owner_cut_off", reason = reason, hint = reason.remedy(),
                user = former.id.as_str(), grants = cut.grants, cause:% = error;
                "what {} allowed was taken back, but a record that may be theirs can't be read", former.name
            );
        }
        log::warn!(
            event = "former_owner_disabled", user = former.id.as_str(), grants = cut.grants,
            hint = "gateway users enable lets them in again";
            "owner.name is another: {} may no longer log in", former.name
        );
        println!(
            "! owner      {} is no longer the owner and may not log in",
            former.name
        );
        let record = Record {
            user: Some(former.id.as_str().to_owned()),
            detail: Some("owner.name is another: disabled".to_owned()),
            ..Record::new(Event::Operator)
        };
        // Taking access back never waits for the log.
        let _ = app.server.journal.append_durable(record).await;
        forget_former_owner(records, &former, now).await?;
    }
    Ok(())
}
