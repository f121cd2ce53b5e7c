// Follows the certificate and the key of the data listeners: renewed files are taken up for new connections without a restart.
//
// Promises: both files are read together and fit, or the old pair stays in use and the log says why, once; directories
// are watched, because files are replaced by renaming or by changing a link; open connections keep the certificate with
// which they began.
import EventLoop
import Foundation
import HTTPEndpoint
import Logging

final class CertificateFollower {
  /// Paths, resolved.
  struct Files: Equatable {
    var certificate: String
    var key: String
  }

  /// A pair that was loaded.
  struct Pair {
    var files: Files
    var context: TLSContext
    /// Hashes of the files, taken just before loading: if a file changes while it is loaded, the hash differs and the
    /// pair is read again.
    fileprivate var contents: [[UInt8]?]
  }

  private let loop: EventLoop
  private let logger: Logger
  private var files: Files
  private let takeUp: (TLSContext) -> Void
  private var watches: [DirectoryWatch] = []
  /// The pause after a change, for the other file: two files are seldom replaced at the same moment.
  private lazy var timer = LoopTimer(loop) { [weak self] in self?.readAgain() }
  private static let pause = Duration.milliseconds(200)
  /// Hashes of the contents that are served, and of those that were refused last.
  private var served: [[UInt8]?]
  private var refused: [[UInt8]?] = []

  /// - Parameter served: the pair that is in use.
  init(loop: EventLoop, served: Pair, logger: Logger, takeUp: @escaping (TLSContext) -> Void) {
    self.loop = loop
    files = served.files
    self.logger = logger
    self.takeUp = takeUp
    self.served = served.contents
  }

  static func load(_ files: Files) throws -> Pair {
    let contents = contents(of: files)
    let context = try TLSContext(certificateFile: files.certificate, keyFile: files.key)
    return Pair(files: files, context: context, contents: contents)
  }

  /// Begins to watch; again after the policy names other files.
  func watch() {
    let directories = Set(
      [files.certificate, files.key].map { URL(fileURLWithPath: $0).deletingLastPathComponent().path })
    watches = directories.sorted().compactMap { directory in
      do {
        return try DirectoryWatch(loop, directory: directory) { [weak self] in
          self?.timer.schedule(after: CertificateFollower.pause)
        }
      } catch {
        logger.warning("the certificate is not followed", metadata: ["reason": "\(error)"])
        return nil
      }
    }
  }

  /// A reload has read this pair and found it valid. The rest of the reload takes time, so the files may have been
  /// renewed since.
  func reloaded(_ pair: Pair) {
    if pair.files != files {
      files = pair.files
      watch()
      if pair.contents != served { use(pair) }
    }
    readAgain()
  }

  private func readAgain() {
    let contents = CertificateFollower.contents(of: files)
    guard contents != served, contents != refused else { return }
    do {
      use(try CertificateFollower.load(files))
    } catch {
      refused = contents
      logger.error("the new certificate is refused, the old one stays", metadata: ["mistake": "\(error)"])
    }
  }

  private func use(_ pair: Pair) {
    served = pair.contents
    refused = []
    takeUp(pair.context)
    logger.info("certificate taken up", metadata: ["file": "\(files.certificate)"])
  }

  /// A hash for each file; nil for one that cannot be read.
  private static func contents(of files: Files) -> [[UInt8]?] {
    [files.certificate, files.key].map { path in
      FileManager.default.contents(atPath: path).map { Digest.sha256(Array($0)) }
    }
  }
}
