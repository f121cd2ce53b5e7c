// What a misspelt command was probably meant to be. Misspelt flags are the argument parser's own matter.
import ArgumentParser
import TextForms

enum Misspelling {
  /// The message about a refused command line; where it is about a word in a command's place, with the command that was
  /// probably meant.
  static func completed(_ message: String, arguments: [String]) -> String {
    if arguments.first == "check", message.contains("'--policy'") {
      var lines = message.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
      lines[0] = "Error: the file is an argument, without --policy: tollgate check FILE"
      return lines.joined(separator: "\n")
    }
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
