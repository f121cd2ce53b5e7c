// The splitter of code and comments, on what Swift allows.
import Testing

@Suite struct SwiftTextTests {
  private func code(_ text: String) -> [String] { SwiftText(text).lines.map(\.code) }

  @Test func linesAreCountedAsAnEditorDoes() {
    #expect(SwiftText("").lines.count == 1)
    #expect(SwiftText("a").lines.count == 1)
    #expect(SwiftText("a\n").lines.count == 1)
    #expect(SwiftText("a\n\nb").lines.count == 3)
  }

  @Test func commentsLeaveTheCode() {
    let lines = SwiftText("let a = 1 // one, try! it\n/* b\n c */ let d").lines
    #expect(lines[0].code == "let a = 1 ")
    #expect(lines[0].comment.contains("one, try! it"))
    #expect(lines[1].isBlank)
    #expect(lines[2].code == " let d")
    #expect(lines[2].comment.contains("c"))
  }

  @Test func blockCommentsNest() {
    #expect(code("/* a /* b */ c */d") == ["d"])
  }

  @Test func stringsAreBlanked() {
    #expect(code(#"f("try!", x)"#) == ["f(      , x)"])
    #expect(code(#"f("a\"b//c")"#) == ["f(         )"])
    #expect(code("f(#\"a\"b\"#)") == ["f(       )"])
    #expect(code("let a = \"\"\"\n  try! \"quoted\"\n  \"\"\"\nb").last == "b")
    #expect(!code("let a = \"\"\"\n  try!\n  \"\"\"")[1].contains("try!"))
  }

  @Test func interpolationIsCode() {
    #expect(code(#""a \(try! f(x)) b""#)[0].contains("(try! f(x))"))
    #expect(!code(#""a \(f("as!")) b as!""#)[0].contains("as!"))
    #expect(code(##"#"a \(not!) \#(code!)"#"##)[0].contains("(code!)"))
    #expect(!code(##"#"a \(not!) \#(code!)"#"##)[0].contains("not!"))
  }
}
