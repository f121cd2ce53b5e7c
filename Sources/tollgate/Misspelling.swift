// What a misspelt command was probably meant to be. Misspelt flags are the argument parser's own matter.
import ArgumentParser
import TextForms

enum Misspelling {
  /// The message about a refused command line; where it is about a word in a command's place, with the command that was
  /// probably meant.
  static func completed(_ message: String, arguments: [String]) -> String {
    usual(plain(told(message, arguments: arguments)), arguments: arguments)
  }

  /// Without a hint at a flag that is not like the one that was given.
  private static func plain(_ message: String) -> String {
    var lines = message.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    let words = lines[0].split(separator: "'", omittingEmptySubsequences: false)
    guard words.count == 5, words[0].hasSuffix("Unknown option "), words[2].hasSuffix("Did you mean "),
      Spelling.nearest(to: String(words[1]), among: [String(words[3])]) == nil
    else { return message }
    lines[0] = "\(words[0])'\(words[1])'"
    return lines.joined(separator: "\n")
  }

  /// With the usage as it was asked for: `tollgate budgets` where its usual subcommand was left out.
  private static func usual(_ message: String, arguments: [String]) -> String {
    guard let first = arguments.first, let command = Tollgate.commands.first(where: { $0._commandName == first }),
      let usual = command.configuration.defaultSubcommand, !arguments.contains(usual._commandName)
    else { return message }
    return message.replacing("tollgate \(first) \(usual._commandName)", with: "tollgate \(first)")
  }

  private static func told(_ message: String, arguments: [String]) -> String {
    if arguments.first == "check", message.contains("'--policy'") {
      var lines = message.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
      lines[0] = "Error: the file is an argument, without --policy: tollgate check FILE"
      return lines.joined(separator: "\n")
    }
    if let mistake = value(in: arguments, message) { return mistake }
    guard let (word, meant, parent) = command(in: arguments) else { return message }
    var lines = message.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    guard lines[0].contains("'\(word)'") else { return message }
    if let meant {
      lines[0] += ". Did you mean '\(meant)'?"
    } else if parent != Tollgate.self {
      let names = parent.configuration.subcommands.map { "'\($0._commandName)'" }.joined(separator: ", ")
      lines = [
        "Error: '\(PrintableText.escaped(String(word.prefix(60))))' is no subcommand of 'tollgate \(parent._commandName)'; there are \(names)",
        "See 'tollgate \(parent._commandName) --help'.",
      ]
    }
    return lines.joined(separator: "\n")
  }

  /// A number below zero behind an option, which the parser takes for another option.
  private static func value(in arguments: [String], _ message: String) -> String? {
    for (option, value) in zip(arguments, arguments.dropFirst()) where option.hasPrefix("--") && !option.contains("=") {
      guard value.hasPrefix("-"), let digit = value.utf8.dropFirst().first,
        digit >= 0x30 && digit <= 0x39 || digit == UInt8(ascii: "."), message.contains("'\(option)")
      else { continue }
      var lines = message.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
      let shown = PrintableText.escaped(String(value.prefix(60)))
      lines[0] = "Error: \(option): found '\(shown)', allowed are values that do not begin with '-'"
      return lines.joined(separator: "\n")
    }
    return nil
  }

  /// The first word that stands where a command should, the command that is like it, and the one that it should belong to.
  private static func command(
    in arguments: [String]
  ) -> (word: String, meant: String?, parent: any ParsableCommand.Type)? {
    var command: any ParsableCommand.Type = Tollgate.self
    for word in arguments {
      let known = command.configuration.subcommands
      guard !known.isEmpty, !word.hasPrefix("-") else { return nil }
      if let next = known.first(where: { $0._commandName == word }) {
        command = next
      } else {
        return (word, Spelling.nearest(to: word, among: known.map { $0._commandName }), command)
      }
    }
    return nil
  }
}
