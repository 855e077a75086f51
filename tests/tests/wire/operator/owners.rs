//! Owners who are named in the configuration, and are not any more.

use super::*;

#[tokio::test]
async fn an_owner_who_is_taken_out_of_the_configuration_gets_a_password_like_others() -> Result<()>
{
    let mut fixture = Fixture::start().await?;
    let (_, token) = fixture.signed_in().await?;
    let new = Owner {
        password: "another good password".into(),
        ..fixture.owner.clone()
    };
    let words = ["users", "password", "alice"];
    let configured = command(&fixture.gateway, &words, &new.password).await?;
    assert_eq!(configured.code, 1, "{configured:?}");
    fixture.gateway.setup().owner = None;
    fixture.gateway.restart().await?;
    assert!(
        login(&fixture, &fixture.owner).await?.0,
        "nothing else changes"
    );
    assert_eq!(status(&fixture, &token).await?, 200);
    done(&fixture.gateway, &words, &new.password).await?;
    assert!(
        !login(&fixture, &fixture.owner).await?.0,
        "the old password"
    );
    assert!(login(&fixture, &new).await?.0, "the new password");
    Ok(())
}

#[tokio::test]
async fn an_owner_who_is_no_longer_named_is_kept_out_and_the_log_says_so() -> Result<()> {
    let mut fixture = Fixture::start().await?;
    let (client, alices) = fixture.signed_in().await?;
    let alice = fixture.owner.clone();
    let (entered, mut browser) = login(&fixture, &alice).await?;
    assert!(entered);
    // The hash of the configuration goes with the name: the new owner has the same password.
    let bob = Owner {
        name: "bob".into(),
        ..alice.clone()
    };
    fixture.gateway.setup().owner = Some(bob.clone());
    fixture.gateway.restart().await?;
    assert!(!login(&fixture, &alice).await?.0);
    assert!(!is_logged_in(&fixture, &mut browser).await?);
    assert_eq!(status(&fixture, &alices).await?, 401);
    assert!(login(&fixture, &bob).await?.0);
    fixture.gateway.logged("former_owner_disabled").await?;
    let told = fixture.gateway.printed().join("\n");
    assert!(told.contains("alice is no longer the owner"), "{told}");
    let listed = done(&fixture.gateway, &["users", "ls"], "").await?;
    assert!(
        listed.out.contains("no longer named as owner"),
        "{listed:?}"
    );

    fixture.gateway.setup().owner = Some(alice.clone());
    fixture.gateway.restart().await?;
    assert!(!login(&fixture, &bob).await?.0);
    let token = client.sign_in(&alice).await?;
    assert_eq!(status(&fixture, &token).await?, 200);
    assert_eq!(status(&fixture, &alices).await?, 401);

    done(&fixture.gateway, &["users", "disable", "alice"], "").await?;
    fixture.gateway.crash_and_restart().await?;
    assert!(
        !login(&fixture, &alice).await?.0,
        "a restart undid the operator"
    );
    assert_eq!(status(&fixture, &token).await?, 401);
    Ok(())
}

#[tokio::test]
async fn who_is_let_in_again_is_no_owner_that_the_configuration_does_not_name() -> Result<()> {
    let mut fixture = Fixture::start().await?;
    let alice = fixture.owner.clone();
    done(&fixture.gateway, &["users", "disable", "alice"], "").await?;
    // Kept out, and taken out of the configuration since.
    fixture.gateway.setup().owner = None;
    fixture.gateway.restart().await?;
    let gateway = &fixture.gateway;
    done(gateway, &["users", "enable", "ALICE"], "").await?;
    let shown = done(gateway, &["users", "show", "alice", "--json"], "").await?;
    let shown = shown.json();
    assert_eq!(
        shown["user"]["owner_of_configuration"],
        json!(false),
        "{shown}"
    );
    assert_eq!(shown["user"]["is_owner"], json!(false), "{shown}");
    let (entered, mut browser) = login(&fixture, &alice).await?;
    assert!(entered, "a person like others");
    let page = browser.visit(&fixture.url("/admin").parse()?).await?;
    assert_eq!(page.reply.status, 404, "{}", page.words());
    let new = Owner {
        password: "another good password".into(),
        ..alice.clone()
    };
    let words = ["users", "password", "alice"];
    done(&fixture.gateway, &words, &new.password).await?;
    assert!(login(&fixture, &new).await?.0, "the new password");

    // Named again she is the owner again, also after the operator kept her out.
    fixture.gateway.setup().owner = Some(alice.clone());
    fixture.gateway.restart().await?;
    for what in ["disable", "enable"] {
        done(&fixture.gateway, &["users", what, "alice"], "").await?;
    }
    let (entered, mut browser) = login(&fixture, &alice).await?;
    assert!(entered, "with the password of the configuration");
    let page = browser.visit(&fixture.url("/admin").parse()?).await?;
    assert_eq!(page.reply.status, 200, "{}", page.words());
    Ok(())
}
