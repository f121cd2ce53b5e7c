// The `tollgate-dev` executable: tools for those who work on Tollgate. It is not shipped; what operators run is `tollgate`.
import ArgumentParser
import ProcessOutput

@main
struct TollgateDev: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "tollgate-dev", abstract: "Tools for those who work on Tollgate.",
    subcommands: [LedgerLoadCommand.self, DecisionsCommand.self])

  static func main() {
    StandardStream.prepare()
    main(nil)
    Terminal.end(0)
  }
}
