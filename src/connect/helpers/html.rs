//! HTML to plain text.

use super::entities::ENTITIES;

/// The plain text of a piece of HTML, or none if no text is in it.
///
/// Entities become their characters; `<br>`, headings, `<p>`, `<div>`, lists and
/// rows of tables begin a line, an item's with `- `; blanks collapse, a
/// no-break space too; scripts, styles and comments go with what is in them. A
/// `<` that begins no tag and an `&` that begins no entity stay. Text without
/// HTML stays as it is but for its blanks: a line break in it is a blank, as in
/// HTML. Linear in the length of the text; never longer than it.
pub fn html_text(html: &str) -> Option<String> {
    let mut out = Text { text: String::with_capacity(html.len()), blank: false, line: false, item: false };
    let mut rest = html;
    while let Some(at) = rest.find(['<', '&']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        rest = if rest.starts_with('<') { tag(rest, &mut out) } else { entity(rest, &mut out) };
    }
    out.push_str(rest);
    (!out.text.is_empty()).then_some(out.text)
}

/// The text so far, and what is due before its next character.
struct Text {
    text: String,
    /// A blank is due, unless a line begins.
    blank: bool,
    /// A new line is due, unless nothing stands before it.
    line: bool,
    /// The line is an item of a list.
    item: bool,
}

impl Text {
    fn push_str(&mut self, text: &str) {
        text.chars().for_each(|c| self.push(c));
    }

    fn push(&mut self, c: char) {
        if c.is_whitespace() {
            self.blank = true;
            return;
        }
        // What can't be seen isn't text: controls, the zero-width space, the byte order mark.
        if c.is_control() || matches!(c, '\u{200b}' | '\u{feff}') {
            return;
        }
        if !self.text.is_empty() {
            if self.line {
                self.text.push('\n');
            } else if self.blank {
                self.text.push(' ');
            }
        }
        if self.item {
            self.text.push_str("- ");
        }
        (self.blank, self.line, self.item) = (false, false, false);
        self.text.push(c);
    }

    fn break_line(&mut self) {
        (self.blank, self.line, self.item) = (false, true, false);
    }
}

/// Handles what begins with `<` and returns what follows it.
fn tag<'a>(rest: &'a str, out: &mut Text) -> &'a str {
    if let Some(comment) = rest.strip_prefix("<!--") {
        return comment.find("-->").map_or("", |end| &comment[end + 3..]);
    }
    let inner = &rest[1..];
    let closing = inner.starts_with('/');
    let named = if closing { &inner[1..] } else { inner };
    let begins_tag =
        named.starts_with(|c: char| c.is_ascii_alphabetic()) || (!closing && inner.starts_with(['!', '?']));
    if !begins_tag {
        out.push('<');
        return inner;
    }
    let name: String = named
        .chars()
        .take_while(char::is_ascii_alphanumeric)
        .take(12)
        .map(|c| c.to_ascii_lowercase())
        .collect();
    let after = tag_end(inner);
    if !closing && matches!(name.as_str(), "script" | "style" | "title" | "template" | "textarea") {
        return skip_element(after, &name);
    }
    match name.as_str() {
        "li" if !closing => {
            out.break_line();
            out.item = true;
        }
        "br" | "p" | "div" | "li" | "ul" | "ol" | "dl" | "dt" | "dd" | "h1" | "h2" | "h3" | "h4" | "h5"
        | "h6" | "hr" | "tr" | "table" | "section" | "article" | "header" | "footer" | "blockquote"
        | "pre" | "address" => {
            out.break_line();
        }
        "td" | "th" => out.blank = true,
        _ => {}
    }
    after
}

/// What follows the `>` that ends a tag; a `>` within quotes doesn't end it.
fn tag_end(inner: &str) -> &str {
    let mut quote = None;
    for (at, b) in inner.bytes().enumerate() {
        match (quote, b) {
            (None, b'>') => return &inner[at + 1..],
            (None, b'"' | b'\'') if inner[..at].trim_end().ends_with('=') => quote = Some(b),
            (Some(open), close) if open == close => quote = None,
            _ => {}
        }
    }
    ""
}

/// What follows the end tag of element `name`, which holds no text.
fn skip_element<'a>(after: &'a str, name: &str) -> &'a str {
    let mut rest = after;
    while let Some(at) = rest.find("</") {
        rest = &rest[at + 2..];
        if rest.len() >= name.len() && rest.as_bytes()[..name.len()].eq_ignore_ascii_case(name.as_bytes()) {
            return rest.find('>').map_or("", |end| &rest[end + 1..]);
        }
    }
    ""
}

/// Handles what begins with `&` and returns what follows it.
fn entity<'a>(rest: &'a str, out: &mut Text) -> &'a str {
    let name_length =
        rest[1..].bytes().take(32).take_while(|b| b.is_ascii_alphanumeric() || *b == b'#').count();
    let name = &rest[1..1 + name_length];
    let after = &rest[1 + name_length..];
    let character = match name.strip_prefix('#') {
        Some(number) => {
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16),
                None => number.parse(),
            };
            code.ok().and_then(char::from_u32)
        }
        None => ENTITIES.binary_search_by(|(known, _)| (*known).cmp(name)).ok().map(|at| ENTITIES[at].1),
    };
    match (character, after.strip_prefix(';')) {
        (Some(c), Some(after)) => {
            out.push(c);
            after
        }
        _ => {
            out.push('&');
            &rest[1..]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(html: &str) -> String {
        html_text(html).unwrap_or_default()
    }

    #[test]
    fn paragraphs_lists_and_entities_become_lines_and_characters() {
        let html = "<p>Au sein de l&#39;&eacute;quipe, vous assurez&nbsp;:</p>\n<ul>\n <li>le <b>nettoyage</b>&nbsp;;</li>\
                    <li>les petites r&#xE9;parations.</li></ul><P CLASS='x'>190&nbsp;000 XPF<br/>&lt; 1 mois</p>";
        assert_eq!(
            text(html),
            "Au sein de l'équipe, vous assurez :\n- le nettoyage ;\n- les petites réparations.\n190 000 XPF\n< 1 mois"
        );
    }

    #[test]
    fn scripts_styles_and_comments_leave_nothing() {
        assert_eq!(text("a<script>alert('<b>x</b>')</script>b"), "ab");
        assert_eq!(text("a<STYLE type='t'>p{}</Style >b<!-- <p>c</p> -->d"), "abd");
        assert_eq!(text("a<script>never ended"), "a");
        assert_eq!(html_text("<p> </p><br>"), None);
    }

    #[test]
    fn what_only_looks_like_html_stays() {
        assert_eq!(text("1 < 2 && 3 > 2"), "1 < 2 && 3 > 2");
        assert_eq!(text("R&D, AT&T; &unknown; & &#xD800; &"), "R&D, AT&T; &unknown; & &#xD800; &");
        assert_eq!(text("a <> b </> c"), "a <> b </> c");
    }

    #[test]
    fn a_bracket_in_an_attribute_doesnt_end_the_tag() {
        assert_eq!(text("<a title=\"a > b\" href='x'>lien</a>"), "lien");
        assert_eq!(text("<p>l'eau</p><p>d'ici</p>"), "l'eau\nd'ici");
        assert_eq!(text("<span it's>ok</span>"), "ok");
    }

    #[test]
    fn entities_are_sorted_so_that_they_are_found() {
        assert!(ENTITIES.windows(2).all(|w| w[0].0 < w[1].0));
        for (name, c) in ENTITIES {
            if !c.is_whitespace() && !c.is_control() {
                assert_eq!(text(&format!("&{name};")), c.to_string());
            }
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic_or_grow(html in "([<>&;/#!\"'= a-z\u{e9}]|<p>|<li>|</li>|&lt;|<script|</script>|<!--|-->){0,60}") {
            prop_assert!(text(&html).len() <= html.len());
        }

        #[test]
        fn escaped_text_comes_back(words in prop::collection::vec("[a-zé<>&'\"0-9]{1,8}", 1..8)) {
            let plain = words.join(" ");
            let escaped = plain.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            prop_assert_eq!(text(&escaped), plain);
        }

        #[test]
        fn any_text_is_one_line_without_controls(html in any::<String>()) {
            let text = text(&html);
            prop_assert!(!text.contains(|c: char| c.is_control() && c != '\n'));
            prop_assert_eq!(text.trim(), text.as_str());
        }
    }
}
