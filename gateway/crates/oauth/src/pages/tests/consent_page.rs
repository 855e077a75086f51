//! What the consent page offers, and how.

use std::collections::BTreeSet;

use super::*;

#[test]
fn a_long_name_is_cut_and_cannot_claim_to_be_set_up_by_the_operator() {
    let web = Destination::Web("evil.example".to_owned());
    let long = "x".repeat(10_000);
    let page = consent(&long, &web, Vec::new()).page();
    assert!(page.html().len() < 9_000);
    assert!(page.html().contains("x…"));
    let page = consent("ChatGPT ✓ Set up by the operator", &web, Vec::new()).page();
    assert!(page.html().contains("Unverified name"));
    assert!(!page.html().contains("class=\"badge good\""));
    assert!(!page.html().contains('✓'));
}

#[test]
fn deny_stands_before_allow_and_both_are_of_one_size() {
    let web = Destination::Web("chatgpt.com".to_owned());
    let page = consent("ChatGPT", &web, tools()).page();
    let html = page.html();
    let (deny, allow) = (html.find(">Deny<").unwrap(), html.find(">Allow<").unwrap());
    assert!(deny < allow);
    assert_eq!(html.matches("name=\"decision\"").count(), 2);
}

#[test]
fn tools_are_grouped_by_what_the_backend_says_they_do() {
    let web = Destination::Web("chatgpt.com".to_owned());
    let page = consent("ChatGPT", &web, tools()).page();
    let groups: Vec<_> = page.html().split("<details").skip(1).collect();
    assert_eq!(groups.len(), 3);
    for (group, heading, names) in [
        (groups[0], "Read", ["search", "fetch"].as_slice()),
        (groups[1], "Change things", &["create_note", "delete_note"]),
        (groups[2], "Not labelled: may change things", &["summarise"]),
    ] {
        assert!(group.contains(&format!("<strong>{heading}</strong>")));
        for tool in tools() {
            let here = names.contains(&tool.name.as_str());
            assert_eq!(
                group.contains(&tool.name),
                here,
                "{} in {heading}",
                tool.name
            );
        }
    }
    assert_eq!(page.html().matches("may delete or overwrite").count(), 1);
}

/// The values of the radio buttons that can be pressed, and those that are.
fn choices(page: &Page) -> (Vec<&str>, Vec<&str>) {
    let tags = page
        .html()
        .split("<input type=\"radio\" name=\"tools\" value=\"");
    let tags: Vec<(&str, &str)> = tags
        .skip(1)
        .filter_map(|rest| rest.split('>').next()?.split_once('"'))
        .collect();
    let with = |mark: &str, wanted: bool| {
        let found = tags.iter().filter(|(_, tag)| tag.contains(mark) == wanted);
        found.map(|(value, _)| *value).collect()
    };
    (with(" disabled", false), with(" checked", true))
}

fn ticked(page: &Page) -> Vec<String> {
    let tags = page
        .html()
        .split("<input type=\"checkbox\" name=\"tool\" value=\"")
        .skip(1);
    tags.filter(|rest| rest.split('>').next().unwrap().ends_with(" checked"))
        .map(|rest| rest.split('"').next().unwrap().to_owned())
        .collect()
}

#[test]
fn reading_is_what_an_unverified_app_is_offered_first() {
    let web = Destination::Web("chatgpt.com".to_owned());
    let page = consent("ChatGPT", &web, tools()).page();
    assert_eq!(
        choices(&page),
        (vec!["read", "today", "chosen", "all"], vec!["read"])
    );
    assert_eq!(ticked(&page), ["search", "fetch"]);
    let verified = Consent {
        registration: Registration::PreRegistered,
        is_proved: true,
        preset: Preset::first(&tools(), true),
        ..consent("ChatGPT", &web, tools())
    };
    let page = verified.page();
    assert_eq!(choices(&page).1, ["today"]);
    assert_eq!(ticked(&page).len(), 5);
    // Nothing reads: then nothing is ticked.
    let writers = tools().split_off(2);
    let page = consent("ChatGPT", &web, writers).page();
    assert_eq!(
        choices(&page),
        (vec!["today", "chosen", "all"], vec!["chosen"])
    );
    assert!(ticked(&page).is_empty());
}

#[test]
fn what_was_chosen_stands_chosen() {
    let web = Destination::Web("chatgpt.com".to_owned());
    for choice in [
        Choice::ReadOnly,
        Choice::Today,
        Choice::Chosen(BTreeSet::from(["fetch".to_owned()])),
        Choice::Everything,
    ] {
        let word = choice.as_str();
        let again = Consent {
            preset: Preset {
                choice: Some(choice),
                ticked: BTreeSet::new(),
            },
            ..consent("ChatGPT", &web, tools())
        };
        assert_eq!(choices(&again.page()).1, [word]);
    }
}

#[test]
fn an_app_that_nobody_can_check_is_not_called_verified_whoever_describes_it() {
    let web = Destination::Web("chatgpt.com".to_owned());
    for registration in [Registration::MetadataDocument, Registration::PreRegistered] {
        let asks = Consent {
            registration,
            vouched_by: Some("chatgpt.com"),
            ..consent("ChatGPT", &web, tools())
        };
        let (proved, unproved) = (
            Consent {
                is_proved: true,
                ..asks.clone()
            },
            asks,
        );
        let is_called_so =
            |html: &str| html.contains("Verified:") || html.contains("Set up by the operator");
        assert!(is_called_so(proved.page().html()));
        let page = unproved.page();
        assert!(!is_called_so(page.html()), "{}", page.html());
        assert!(page.html().contains("nobody can check that here"));
    }
}

#[test]
fn nothing_that_is_not_known_can_be_allowed_to_an_unverified_app() {
    let web = Destination::Web("chatgpt.com".to_owned());
    let unknown = Consent {
        capabilities: Capabilities::Unknown,
        ..consent("ChatGPT", &web, Vec::new())
    };
    let page = unknown.page();
    assert!(choices(&page).0.is_empty());
    assert!(!page.html().contains("value=\"allow\""));
    assert!(page.html().contains(">Try again<"));
    let verified = Consent {
        registration: Registration::PreRegistered,
        is_proved: true,
        ..unknown
    };
    assert_eq!(choices(&verified.page()), (vec!["all"], vec![]));
    // A list that is empty is known; what comes later has to be wanted.
    let page = consent("ChatGPT", &web, Vec::new()).page();
    assert_eq!(choices(&page), (vec!["all"], vec![]));
}
