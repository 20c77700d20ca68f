//! Finds the paths that a Rust file names, by its tokens: comments and texts
//! are passed over, groups are spread out, `super` is followed to the root.

/// A path that begins at a crate: `crate` for this one.
pub struct Found {
    pub line: usize,
    pub path: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    /// `::`
    Colons,
    Sign(char),
}

/// The tokens of `source` with their lines, without comments, texts,
/// characters and lifetimes.
fn tokens(source: &str) -> Vec<(usize, Token)> {
    let text: Vec<char> = source.chars().collect();
    let at = |i: usize| text.get(i).copied().unwrap_or('\0');
    let (mut out, mut i, mut line) = (Vec::new(), 0, 1);
    while i < text.len() {
        let from = i;
        match at(i) {
            '/' if at(i + 1) == '/' => {
                while i < text.len() && at(i) != '\n' {
                    i += 1;
                }
            }
            '/' if at(i + 1) == '*' => {
                let mut nested = 0;
                loop {
                    match (at(i), at(i + 1)) {
                        ('/', '*') => (nested, i) = (nested + 1, i + 2),
                        ('*', '/') => (nested, i) = (nested - 1, i + 2),
                        _ => i += 1,
                    }
                    if nested == 0 || i >= text.len() {
                        break;
                    }
                }
            }
            '"' => i = text_end(&text, i),
            '\'' if at(i + 1) == '\\' => {
                i += 3;
                while i < text.len() && at(i) != '\'' {
                    i += 1;
                }
                i += 1;
            }
            '\'' if at(i + 2) == '\'' => i += 3,
            // A lifetime: its name isn't a path's.
            '\'' => {
                i += 1;
                while is_word(at(i)) {
                    i += 1;
                }
            }
            c if is_word(c) => {
                while is_word(at(i)) {
                    i += 1;
                }
                let word: String = text[from..i].iter().collect();
                let hashes = (i..).take_while(|&j| at(j) == '#').count();
                match word.as_str() {
                    "r" | "br" | "cr" if at(i + hashes) == '"' => i = raw_end(&text, i + hashes, hashes),
                    "b" | "c" if at(i) == '"' => i = text_end(&text, i),
                    // `r#word` is a name; the next turn reads it.
                    "r" if hashes == 1 => i += 1,
                    _ => out.push((line, Token::Word(word))),
                }
            }
            ':' if at(i + 1) == ':' => {
                out.push((line, Token::Colons));
                i += 2;
            }
            c => {
                if !c.is_whitespace() {
                    out.push((line, Token::Sign(c)));
                }
                i += 1;
            }
        }
        line += text[from..i.min(text.len())].iter().filter(|&&c| c == '\n').count();
    }
    out
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// Past the text whose opening quote is at `i`.
fn text_end(text: &[char], mut i: usize) -> usize {
    i += 1;
    while i < text.len() && text[i] != '"' {
        i += if text[i] == '\\' { 2 } else { 1 };
    }
    i + 1
}

/// Past the raw text whose opening quote is at `i`, after `hashes` hashes.
fn raw_end(text: &[char], mut i: usize, hashes: usize) -> usize {
    loop {
        i += 1;
        if i >= text.len() || (text[i] == '"' && (1..=hashes).all(|n| text.get(i + n) == Some(&'#'))) {
            return i + 1 + hashes;
        }
    }
}

/// Every path of `source` that begins at a crate, when the file is `depth`
/// modules below the root.
pub fn find(source: &str, depth: usize) -> Vec<Found> {
    let tokens = tokens(source);
    let word = |i: usize| match tokens.get(i) {
        Some((_, Token::Word(word))) => Some(word.as_str()),
        _ => None,
    };
    let sign = |i: usize| tokens.get(i).map(|(_, token)| token);
    let (mut found, mut i, mut braces, mut inner) = (Vec::new(), 0, 0_usize, Vec::new());
    while i < tokens.len() {
        let here = depth + inner.len();
        match sign(i) {
            Some(Token::Sign('{')) => braces += 1,
            Some(Token::Sign('}')) => {
                braces = braces.saturating_sub(1);
                if inner.last() == Some(&braces) {
                    inner.pop();
                }
            }
            Some(Token::Word(name)) => match name.as_str() {
                "mod" if word(i + 1).is_some() && sign(i + 2) == Some(&Token::Sign('{')) => {
                    inner.push(braces);
                    braces += 1;
                    i += 3;
                    continue;
                }
                // `use` begins an item; `use<…>` in a type doesn't.
                "use" if sign(i + 1) != Some(&Token::Sign('<')) => {
                    i = tree(&tokens, i + 1, &[], here, &mut found);
                    continue;
                }
                "extern" if word(i + 1) == Some("crate") => {
                    i = tree(&tokens, i + 2, &[], here, &mut found);
                    continue;
                }
                // `pub(crate)` and `pub(in crate::x)` say who sees, not what is used.
                "pub" if sign(i + 1) == Some(&Token::Sign('(')) => {
                    while i < tokens.len() && sign(i) != Some(&Token::Sign(')')) {
                        i += 1;
                    }
                }
                _ if sign(i + 1) == Some(&Token::Colons) => {
                    let line = tokens[i].0;
                    let mut path = vec![name.clone()];
                    while sign(i + 1) == Some(&Token::Colons) && word(i + 2).is_some() {
                        path.extend(word(i + 2).map(str::to_owned));
                        i += 2;
                    }
                    push(&mut found, line, path, here);
                }
                _ => {}
            },
            _ => {}
        }
        i += 1;
    }
    found
}

/// Reads the tree of a `use` from `i` on, below `prefix`; gives where it ends.
fn tree(
    tokens: &[(usize, Token)],
    mut i: usize,
    prefix: &[String],
    depth: usize,
    found: &mut Vec<Found>,
) -> usize {
    let mut path = prefix.to_vec();
    let mut line = tokens.get(i).map_or(0, |(line, _)| *line);
    let mut grouped = false;
    while let Some((at, token)) = tokens.get(i) {
        match token {
            Token::Word(word) if word == "as" => i += 1,
            Token::Word(word) => {
                line = *at;
                path.push(word.clone());
            }
            Token::Sign('*') => path.push("*".to_owned()),
            Token::Sign('{') => {
                grouped = true;
                i += 1;
                while tokens.get(i).is_some_and(|(_, token)| *token != Token::Sign('}')) {
                    i = tree(tokens, i, &path, depth, found);
                    if tokens.get(i).is_some_and(|(_, token)| *token == Token::Sign(',')) {
                        i += 1;
                    }
                }
            }
            Token::Colons => {}
            // The end: `;` of the item, `,` or `}` of the group that it is in.
            Token::Sign(_) => break,
        }
        i += 1;
    }
    if !grouped && path.len() > prefix.len() {
        push(found, line, path, depth);
    }
    i
}

/// Keeps `path` if it begins at a crate's root, once `super` was followed.
fn push(found: &mut Vec<Found>, line: usize, path: Vec<String>, depth: usize) {
    let ups = path.iter().take_while(|word| *word == "super").count();
    let own = usize::from(path[0] == "self");
    let ups = if own == 1 { path[1..].iter().take_while(|word| *word == "super").count() } else { ups };
    if own + ups == 0 {
        found.push(Found { line, path });
    } else if ups >= depth {
        let mut rooted = vec!["crate".to_owned()];
        rooted.extend_from_slice(&path[own + ups..]);
        found.push(Found { line, path: rooted });
    }
}
