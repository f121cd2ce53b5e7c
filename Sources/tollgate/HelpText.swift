// Help, as people look for it: `tollgate keys --help` tells the flags of `tollgate keys`, which are those of its default
// subcommand, and `tollgate help WORD` is a mistake where there is no such command.
import ArgumentParser
import TextForms

enum HelpText {
  /// The help for these arguments in place of `message`, where they ask for a command with a default subcommand.
  static func completed(_ message: String, arguments: [String]) -> String {
    let words = arguments.first == "help" ? Array(arguments.dropFirst()) : arguments.filter { !isHelpFlag($0) }
    guard arguments.first == "help" || arguments.contains(where: isHelpFlag), let command = command(words).found,
      let usual = command.configuration.defaultSubcommand
    else { return message }
    let own = Tollgate.helpMessage(for: command)
    let inner = Tollgate.helpMessage(for: usual)
    guard let flags = section("OPTIONS:", of: inner), let old = section("OPTIONS:", of: own),
      let usage = inner.split(separator: "\n").first(where: { $0.hasPrefix("USAGE:") })
    else { return message }
    let name = usual._commandName
    let short = usage.dropFirst("USAGE: ".count).replacing(
      " \(command._commandName) \(name)", with: " \(command._commandName)")
    return own.replacing(
      old, with: "OPTIONS of '\(name)', which can be left out:\n" + flags.dropFirst("OPTIONS:\n".count)
    )
    .replacing("\nOPTIONS of", with: "       \(short)\n\nOPTIONS of", maxReplacements: 1)
  }

  /// What is wrong with `tollgate help WORD ...`; nil where nothing is.
  static func mistake(in arguments: [String]) -> String? {
    guard arguments.first == "help" else { return nil }
    let words = arguments.dropFirst().filter { !$0.hasPrefix("-") }
    guard let unknown = command(Array(words)).unknown else { return nil }
    let meant = unknown.meant.map { ". Did you mean '\($0)'?" } ?? ""
    return "Error: there is no command '\(PrintableText.escaped(String(unknown.word.prefix(60))))'\(meant)\n"
      + "See 'tollgate --help' for all commands."
  }

  private static func isHelpFlag(_ word: String) -> Bool { word == "--help" || word == "-h" }

  /// The command that the words lead to, or the first word that is none.
  private static func command(_ words: [String]) -> (
    found: (any ParsableCommand.Type)?, unknown: (word: String, meant: String?)?
  ) {
    var command: any ParsableCommand.Type = Tollgate.self
    for word in words {
      let known = command.configuration.subcommands
      guard let next = known.first(where: { $0._commandName == word }) else {
        // What stands behind a command that has no subcommands is its argument.
        if known.isEmpty { return (command, nil) }
        return (nil, (word, Spelling.nearest(to: word, among: known.map { $0._commandName })))
      }
      command = next
    }
    return (command, nil)
  }

  /// From the heading to the next empty line.
  private static func section(_ heading: String, of text: String) -> String? {
    let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
    guard let start = lines.firstIndex(where: { $0 == heading }) else { return nil }
    return lines[start...].prefix { !$0.isEmpty }.joined(separator: "\n")
  }
}
