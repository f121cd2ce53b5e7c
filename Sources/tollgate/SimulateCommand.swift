// `tollgate simulate`: the real admission core in virtual time.
import ArgumentParser
import Foundation
import PolicyFile
import PolicyLab
import ProcessOutput

struct SimulateCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "simulate", abstract: "Try a policy on a workload in virtual time, with the real admission core.",
    discussion: """
      Minutes of traffic pass in a moment, and the same seed gives the same output. Workloads:
        \(WorkloadReport.names.joined(separator: ", "))
      """)

  @Option(help: "The policy to try.", completion: .file()) var policy: String
  @Option(help: ArgumentHelp("The traffic to try it on.", valueName: "name")) var workload: String
  @Option(help: "Decides everything that is left to chance.") var seed: UInt64 = 1

  func validate() throws {
    guard WorkloadReport.names.contains(workload) else {
      throw ValidationError(
        "--workload: there is no '\(workload)'; allowed are \(WorkloadReport.names.joined(separator: ", "))")
    }
  }

  func run() throws {
    let policy = try PolicyLoading.policy(at: policy)
    guard let report = WorkloadReport.run(workload, policy: policy.admission, seed: seed) else {
      throw CommandRefusal("tollgate: the workload '\(workload)' cannot run with this policy")
    }
    Terminal.line(report)
  }
}
