//! Questions near the border between good and bad: well-formed texts from small grammars, about half of them damaged in one to
//! three places, and now and then a case of the corpus.

use modtier_tests::Seed;

use super::answers::Operation;

/// What the arguments of an operation are about.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Subject {
    Path,
    FilePath,
    EscapedPath,
    Version,
    EscapedVersion,
    Pseudo,
    GoMod,
    Tile,
    TwoVersions,
    PathAndVersion,
    VersionAndSuffix,
    GlobsAndPath,
}

impl Subject {
    /// Number of arguments.
    pub(crate) const fn arguments(self) -> usize {
        match self {
            Self::Path
            | Self::FilePath
            | Self::EscapedPath
            | Self::Version
            | Self::EscapedVersion
            | Self::Pseudo
            | Self::GoMod
            | Self::Tile => 1,
            Self::TwoVersions | Self::PathAndVersion | Self::VersionAndSuffix | Self::GlobsAndPath => 2,
        }
    }
}

const HOSTS: &[&str] =
    &["github.com", "golang.org", "k8s.io", "gopkg.in", "example.com", "git.corp.example.com", "a.b", "x-1.io", "1.2"];
const ELEMENTS: &[&str] = &[
    "BurntSushi",
    "toml",
    "x",
    "mod",
    "client-go",
    "aws-sdk-go-v2",
    "s3",
    "_a",
    "a.b",
    "a~b",
    "com0",
    "conx",
    "yaml",
    "GoGo",
    "UPPER",
    "v2x",
    "foo~",
    "nul_",
    "auxiliary",
    "lpt",
    "a..b",
];
const FILES: &[&str] =
    &["main.go", "a b.txt", "漢字", "é.go", ".github", "README+x", "ａ", "[x]", "-f", "~", "Σ", "ﬁ", "ʰ", "ß"];
const REVISIONS: &[&str] = &["daa7c04131f5", "abc", "ABCDEF", "0", "20d25e280405"];
const BUILDS: &[&str] = &["+incompatible", "+incompatible", "+meta", "+a.b-c", "+0"];
const WORDS: &[&str] = &["alpha", "beta", "rc", "RC1", "0", "1", "10", "pre", "x-y", "0a", "-"];
/// What is put into a text to damage it, or not.
#[rustfmt::skip]
const TOKENS: &[&str] = &[
    ".", "..", "/", "//", "~1", "~", "con", "CON", "aux.", "nul", "com1", "LPT9.", "é", "漢", "Ⅷ", "\u{212A}",
    "\u{301}", "!", "!b", "!!", "+incompatible", "+", "/v2", "/v1", "/v0", "/v2.1", ".v3", "-unstable", "\0",
    " ", "%", "@", "-", "--", "0", "00", "01", "9", "99999999999999999999", "v", "V", "A", "Z", "*", "?", "[",
    "]", "[a-z]", "[^", "\\", ",", "\"", "`", "'", "//x", "\n", "\r", "\t", "\u{a0}", "(", ")", "module ",
    "retract ", "x001/", ".p/7", "data", "_", "😀", "\u{7f}", ":", "|", "#",
];

/// Makes arguments.
pub(crate) struct Generator {
    seed: Seed,
    corpus: Vec<String>,
}

impl Generator {
    pub(crate) fn new(seed: Seed, corpus: Vec<String>) -> Self {
        Self { seed, corpus }
    }

    /// Arguments for one question.
    pub(crate) fn arguments(&mut self, operation: &Operation) -> Vec<String> {
        match operation.subject {
            Subject::Path => vec![self.damaged(Self::path)],
            Subject::FilePath => vec![self.damaged(Self::file_path)],
            Subject::EscapedPath => vec![self.damaged(|g| escaped(&g.path()))],
            Subject::Version => vec![self.damaged(Self::version)],
            Subject::EscapedVersion => vec![self.damaged(|g| escaped(&g.version()))],
            Subject::Pseudo => vec![self.damaged(Self::pseudo)],
            Subject::GoMod => vec![self.damaged(Self::gomod)],
            Subject::Tile => vec![self.damaged(Self::tile)],
            Subject::TwoVersions => self.two_versions(),
            Subject::PathAndVersion => vec![self.rarely_damaged(Self::path), self.rarely_damaged(Self::version)],
            Subject::VersionAndSuffix => vec![self.rarely_damaged(Self::version), self.rarely_damaged(Self::suffix)],
            Subject::GlobsAndPath => {
                let path = self.rarely_damaged(Self::path);
                let globs = self.globs(&path);
                vec![globs, path]
            }
        }
    }

    fn below(&mut self, limit: usize) -> usize {
        let limit = u64::try_from(limit).expect("a usize has at most 64 bits");
        usize::try_from(self.seed.within(0..limit)).expect("below a usize")
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    fn damaged(&mut self, make: fn(&mut Self) -> String) -> String {
        if self.chance(3) {
            let at = self.below(self.corpus.len());
            return self.corpus[at].clone();
        }
        let mut text = make(self);
        if self.chance(55) {
            for _ in 0..=self.below(3) {
                text = self.damage(&text);
            }
        }
        text
    }

    fn rarely_damaged(&mut self, make: fn(&mut Self) -> String) -> String {
        let text = make(self);
        if self.chance(15) { self.damage(&text) } else { text }
    }

    /// Changes one place.
    fn damage(&mut self, text: &str) -> String {
        let mut chars: Vec<char> = text.chars().collect();
        let at = self.below(chars.len() + 1);
        match self.below(6) {
            0 if at < chars.len() => {
                chars.remove(at);
            }
            1 if at < chars.len() => {
                let c = chars[at];
                chars[at] = if c.is_ascii_uppercase() { c.to_ascii_lowercase() } else { c.to_ascii_uppercase() };
            }
            2 if at < chars.len() => chars.insert(at, chars[at]),
            3 => chars.truncate(at),
            4 => {
                // Any character at all, more often from the lower planes.
                let limit = [0x80, 0x800, 0x1_0000, 0x11_0000][self.below(4)];
                let code = u32::try_from(self.below(limit)).expect("below 0x110000");
                chars.splice(at..at, char::from_u32(code));
            }
            _ => {
                let token = self.pick(TOKENS);
                chars.splice(at..at, token.chars());
            }
        }
        chars.into_iter().collect()
    }

    fn number(&mut self) -> String {
        let limit = [3, 12, 1000][self.below(3)];
        self.below(limit).to_string()
    }

    fn word(&mut self) -> String {
        const LETTERS: &[u8] = b"abcxyzABZ0129-_.~";
        (0..=self.below(7)).map(|_| char::from(LETTERS[self.below(LETTERS.len())])).collect()
    }

    fn path(&mut self) -> String {
        let mut path = self.pick(HOSTS).to_owned();
        for _ in 0..self.below(4) {
            path.push('/');
            path += &if self.chance(70) { self.pick(ELEMENTS).to_owned() } else { self.word() };
        }
        if self.chance(40) {
            path += &self.suffix();
        }
        path
    }

    fn suffix(&mut self) -> String {
        let number = self.number();
        match self.below(6) {
            0 => format!(".v{number}"),
            1 => format!(".v{number}-unstable"),
            2 => String::new(),
            _ => format!("/v{number}"),
        }
    }

    fn file_path(&mut self) -> String {
        let mut elements = Vec::new();
        for _ in 0..=self.below(3) {
            elements.push(match self.below(3) {
                0 => self.pick(FILES).to_owned(),
                1 => self.pick(ELEMENTS).to_owned(),
                _ => self.word(),
            });
        }
        elements.join("/")
    }

    fn version(&mut self) -> String {
        let mut version = format!("v{}", self.number());
        if self.chance(10) {
            return self.pseudo();
        }
        for _ in 0..if self.chance(85) { 2 } else { self.below(2) } {
            version.push('.');
            version += &self.number();
        }
        if self.chance(40) {
            version.push('-');
            for i in 0..=self.below(3) {
                version += if i > 0 { "." } else { "" };
                version += self.pick(WORDS);
            }
        }
        if self.chance(35) {
            version += self.pick(BUILDS);
        }
        version
    }

    fn pseudo(&mut self) -> String {
        let (major, minor, patch) = (self.number(), self.number(), self.number());
        let base = match self.below(5) {
            0 => format!("v{major}.0.0-"),
            1 | 2 => format!("v{major}.{minor}.{patch}-0."),
            3 => format!("v{major}.{minor}.{patch}-{}.0.", self.pick(WORDS)),
            _ => format!("v{major}.{minor}.{patch}-"),
        };
        let year = self.below(10_000);
        let parts: Vec<_> = [13, 32, 25, 61, 61].iter().map(|&limit| format!("{:02}", self.below(limit))).collect();
        let build = if self.chance(25) { self.pick(BUILDS) } else { "" };
        format!("{base}{year:04}{}-{}{build}", parts.concat(), self.pick(REVISIONS))
    }

    fn two_versions(&mut self) -> Vec<String> {
        let one = self.rarely_damaged(Self::version);
        let other = match self.below(5) {
            0 => one.clone(),
            1 => self.damage(&one),
            2 => format!("{}{}", one.split('+').next().unwrap_or(&one), self.pick(BUILDS)),
            3 => one.split('-').next().unwrap_or(&one).to_owned(),
            _ => self.version(),
        };
        if self.chance(50) { vec![one, other] } else { vec![other, one] }
    }

    /// Globs made from the path's own beginning, so that many match.
    fn globs(&mut self, path: &str) -> String {
        let mut globs = Vec::new();
        for _ in 0..=self.below(2) {
            let elements: Vec<_> = path.split('/').collect();
            let mut glob = elements[..=self.below(elements.len())].join("/");
            for _ in 0..self.below(3) {
                glob = self.globbed(&glob);
            }
            if self.chance(30) {
                glob = self.damage(&glob);
            }
            globs.push(glob);
        }
        globs.join(",")
    }

    fn globbed(&mut self, glob: &str) -> String {
        let mut chars: Vec<char> = glob.chars().collect();
        let at = self.below(chars.len().max(1)).min(chars.len().saturating_sub(1));
        let Some(&c) = chars.get(at) else { return "*".to_owned() };
        let end = (at + 1 + self.below(4)).min(chars.len());
        let (end, pattern) = match self.below(6) {
            0 => (end, vec!['*']),
            1 => (at + 1, vec!['?']),
            2 => (at + 1, vec!['[', c, ']']),
            3 => (at + 1, vec!['[', '^', c, ']']),
            4 => (at + 1, vec!['[', 'a', '-', c, ']']),
            _ => (at + 1, vec!['\\', c]),
        };
        chars.splice(at..end, pattern);
        chars.into_iter().collect()
    }

    fn gomod(&mut self) -> String {
        let comment = |g: &mut Self| g.pick(&["", "", " // why", " // Deprecated: line", "//x"]).to_owned();
        let mut lines = Vec::new();
        for _ in 0..self.below(3) {
            lines.push(self.pick(&["// Deprecated: use that", "// words", "//", "", "go 1.21"]).to_owned());
        }
        let path = self.path();
        lines.push(match self.below(5) {
            0 => format!("module \"{path}\"{}", comment(self)),
            1 => format!("module (\n\t{path}{}\n)", comment(self)),
            2 => format!("go 1.22 // {path}"),
            _ => format!("module {path}{}", comment(self)),
        });
        for _ in 0..self.below(4) {
            let (low, high) = (self.version(), self.version());
            lines.push(match self.below(6) {
                0 => format!("retract {low}{}", comment(self)),
                1 => format!("retract [{low}, {high}]{}", comment(self)),
                2 => format!("retract (\n\t{low}{}\n\n\t[{high} , {low}]\n)", comment(self)),
                3 => format!("retract \"{low}\" {high}"),
                4 => format!("replace {path} => ../x"),
                _ => "\n// end".to_owned(),
            });
        }
        lines.push(String::new());
        lines.join("\n")
    }

    fn tile(&mut self) -> String {
        let height = self.below(32);
        let level = if self.chance(20) { "data".to_owned() } else { self.number() };
        let groups: Vec<_> = (0..self.below(3)).map(|_| format!("x{:03}/", self.below(1000))).collect();
        let groups = groups.concat();
        let last = self.below(1000);
        let width = if self.chance(40) { format!(".p/{}", self.below(300)) } else { String::new() };
        format!("tile/{height}/{level}/{groups}{last:03}{width}")
    }
}

fn escaped(text: &str) -> String {
    let lower = |c: char| if c.is_ascii_uppercase() { format!("!{}", c.to_ascii_lowercase()) } else { c.to_string() };
    text.chars().map(lower).collect()
}
