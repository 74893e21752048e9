//! `docs/components.md` says what the shipped components say of themselves.

use pleach_tests::{checkout, pleach, stderr, stdout, supernet};

/// The plugins of the page, in its order.
const SHIPPED: [&str; 5] = ["baselines", "datasets", "gevonas", "supernet", "tabular"];

/// The part of a page that is about one plugin.
fn section<'a>(page: &'a str, plugin: &str) -> &'a str {
    let start = page.find(&format!("\n## {plugin}\n")).unwrap_or_else(|| panic!("nothing about {plugin}"));
    let end = page[start + 1..].find("\n## ").map_or(page.len(), |end| start + 1 + end);
    &page[start..end]
}

#[test]
fn the_reference_page_is_current() {
    let page = std::fs::read_to_string(checkout().join("docs/components.md")).expect("the page is there");
    let plugins: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    assert_eq!(plugins, SHIPPED);
    let here: Vec<&str> = SHIPPED.into_iter().filter(|plugin| *plugin != "supernet" || supernet().is_some()).collect();
    let output = pleach().args(["plugins", "docs"]).args(&here).output().expect("the program starts");
    assert!(output.status.success(), "{}", stderr(&output));
    let written = stdout(&output);
    assert_eq!(written.split("\n## ").next(), page.split("\n## ").next());
    for plugin in here {
        assert_eq!(
            section(&written, plugin),
            section(&page, plugin),
            "write the page anew: pleach plugins docs {} > docs/components.md",
            SHIPPED.join(" ")
        );
    }
}

#[test]
fn a_plugin_that_is_not_there_has_no_page() {
    let output = pleach().args(["plugins", "docs", "gevonass"]).output().expect("the program starts");
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("did you mean `gevonas`?"), "{}", stderr(&output));
}
