import ArgumentParser

@main
struct Tollgate: ParsableCommand {
  static let configuration = CommandConfiguration(commandName: "tollgate", version: "0.1.0")
  func run() throws {}
}
