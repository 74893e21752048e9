//! The page: one file that asks for nothing from elsewhere, put together from those in `page/`.

use std::io::Write;

use base64::{Engine, prelude::BASE64_STANDARD};
use flate2::{Compression, write::GzEncoder};
use serde_json::Value;

const HTML: &str = include_str!("page/page.html");
const STYLES: [&str; 2] = [include_str!("page/colours.css"), include_str!("page/layout.css")];
const FIGURE_STYLE: &str = include_str!("page/figures.css");
const SCRIPTS: [&str; 11] = [
    include_str!("page/elements.js"),
    include_str!("page/data.js"),
    include_str!("page/chart.js"),
    include_str!("page/table.js"),
    include_str!("page/network.js"),
    include_str!("page/overview.js"),
    include_str!("page/fitness.js"),
    include_str!("page/regions.js"),
    include_str!("page/genealogy.js"),
    include_str!("page/record.js"),
    include_str!("page/main.js"),
];

/// The page with a document in it, or one that asks the server which it came from.
pub(super) fn page(document: Option<&Value>) -> String {
    let data = document.map_or(String::new(), packed);
    let connect = if document.is_some() { "'none'" } else { "'self'" };
    let parts = [
        ("{{connect}}", connect.to_owned()),
        ("{{style}}", STYLES.concat()),
        ("{{figures}}", FIGURE_STYLE.to_owned()),
        ("{{data}}", data),
        ("{{script}}", SCRIPTS.concat()),
    ];
    let mut page = String::with_capacity(HTML.len() + parts.iter().map(|(_, part)| part.len()).sum::<usize>());
    let mut rest = HTML;
    // In their order, each once: what was put in is not searched again.
    for (mark, part) in &parts {
        let (before, after) = rest.split_once(mark).expect("the page has every mark, in this order");
        page.push_str(before);
        page.push_str(part);
        rest = after;
    }
    page + rest
}

/// A document as Base64 of gzip: small, and nothing in it can end the element that it stands in.
fn packed(document: &Value) -> String {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let bytes = encoder.write_all(document.to_string().as_bytes()).and_then(|()| encoder.finish());
    BASE64_STANDARD.encode(bytes.expect("a vector takes everything"))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;
    use serde_json::json;

    use super::*;

    #[test]
    fn nothing_in_a_document_ends_its_element() {
        let document = json!({ "name": "</script><script>alert(1)</script><!-- {{data}}" });
        let page = page(Some(&document));
        assert_eq!(page.matches("</script>").count(), HTML.matches("</script>").count());
        let data = page.split_once("id=\"data\">").expect("the data is there").1;
        let data = data.split_once("</script>").expect("it ends").0;
        let bytes = BASE64_STANDARD.decode(data).expect("it is Base64");
        let mut text = String::new();
        GzDecoder::new(bytes.as_slice()).read_to_string(&mut text).expect("it is gzip");
        assert_eq!(serde_json::from_str::<Value>(&text).expect("it is JSON"), document);
    }

    #[test]
    fn the_page_names_no_other_place() {
        let page = page(None);
        let places: Vec<&str> = page
            .match_indices("://")
            .map(|(at, _)| page[..at + 18].rsplit_once("http").map_or("", |(_, place)| place))
            .collect();
        // What SVG is called, which nobody asks for.
        assert!(places.iter().all(|place| *place == "://www.w3.org/2000"), "{places:?}");
    }
}
