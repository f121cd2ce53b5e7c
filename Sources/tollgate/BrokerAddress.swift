// Where commands find a broker: a URL, or the path of a Unix socket.
//
// Promise: what is no such address is refused before any connection, with what is wrong and what would do.
import ArgumentParser
import Foundation
import TextForms
import UpstreamHTTP

enum BrokerAddress: Equatable {
  /// Scheme, host and port, without a slash at the end.
  case url(String)
  case socket(path: String)

  /// A socket's path must fit the system's address structure with its closing zero.
  private static let longestSocketPath = 107

  /// - Parameter name: where the text stands, for messages: `--admin`.
  init(_ text: String, from name: String) throws {
    guard text.hasPrefix("unix:") else {
      let full = text.hasPrefix("http://") || text.hasPrefix("https://") ? text : "http://\(text)"
      self = .url(full.hasSuffix("/") ? String(full.dropLast()) : full)
      return
    }
    let path = String(text.dropFirst("unix:".count))
    let shown = PrintableText.escaped(String(text.prefix(200)))
    guard !path.isEmpty else {
      throw ValidationError("\(name): '\(shown)' has no path; give unix:/PATH, such as unix:/run/tollgate.sock")
    }
    guard path.hasPrefix("/") else {
      let whole = PrintableText.escaped(FileManager.default.currentDirectoryPath + "/" + path)
      throw ValidationError("\(name): the path of '\(shown)' does not begin with '/'; give unix:\(whole)")
    }
    guard path.utf8.count <= BrokerAddress.longestSocketPath else {
      throw ValidationError(
        "\(name): the socket's path has \(path.utf8.count) bytes, allowed are \(BrokerAddress.longestSocketPath) at most: "
          + "give the path of a link to it that is shorter (ln -s)")
    }
    self = .socket(path: path)
  }

  /// What requests are sent to, without a slash at the end. Over a socket the host names no place.
  var base: String {
    switch self {
    case .url(let url): url
    case .socket: "http://localhost"
    }
  }

  /// As people give it.
  var shown: String {
    switch self {
    case .url(let url): PrintableText.escaped(url)
    case .socket(let path): "unix:\(PrintableText.escaped(path))"
    }
  }

  /// The same with what was asked for there.
  func shown(_ path: String) -> String {
    switch self {
    case .url: shown + path
    case .socket: "\(path) at \(shown)"
    }
  }

  var socketPath: String? { if case .socket(let path) = self { path } else { nil } }

  /// Why nobody can be reached at the socket, in words; nil for a URL, and where its file tells nothing.
  var obstacle: String? {
    guard let socketPath else { return nil }
    var file = stat()
    guard stat(socketPath, &file) == 0 else {
      switch errno {
      case ENOENT, ENOTDIR: return "there is no such file"
      case EACCES: return "this user may not look into its folder"
      case let code: return String(cString: strerror(code))
      }
    }
    guard file.st_mode & S_IFMT == S_IFSOCK else {
      return file.st_mode & S_IFMT == S_IFDIR ? "it is a folder, no socket" : "it is a file, no socket"
    }
    guard access(socketPath, R_OK | W_OK) == 0 else {
      return "this user may not use it: it belongs to the user of the broker"
    }
    return nil
  }
}
