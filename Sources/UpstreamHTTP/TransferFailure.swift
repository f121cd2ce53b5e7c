// Turns libcurl's result codes into the closed set of UpstreamFailure kinds.
import CCurl
import HTTPMessage

/// What is known of a transfer when libcurl gives it up.
struct TransferProgress {
  /// True where name resolution, TCP, TLS and proxy were done, and libcurl was about to send the request.
  var reachedRequest: Bool
  /// The bytes of the request that were written to the socket.
  var sentBytes: Int
  /// True where any byte of an answer, 1xx included, was read.
  var answerBegan: Bool
  var headComplete: Bool
  /// True where the operating system refused us a socket: `EMFILE`, `ENFILE`, `ENOBUFS`.
  var socketRefused: Bool
  /// Why our callbacks stopped the transfer because of an invalid answer; nil where they did not.
  var malformed: String?
  /// True where we vetoed that libcurl sends the request again over a new connection, since it is not idempotent.
  var vetoedResend: Bool
  /// True where the provider has had the whole request long enough to have worked on it.
  var hadTime: Bool
  /// Libcurl's message. It may quote the answer, so it is shown only for failures before the request.
  var message: String
}

func transferFailure(_ code: CURLcode, _ progress: TransferProgress) -> UpstreamFailure {
  let mayHaveArrived = progress.reachedRequest && progress.sentBytes > 0
  func failure(_ kind: UpstreamFailure.Kind, _ detail: String) -> UpstreamFailure {
    UpstreamFailure(
      kind: kind, detail: detail, requestMayHaveArrived: mayHaveArrived,
      requestWasSent: mayHaveArrived && progress.hadTime)
  }
  /// Before the request is sent, the message cannot contain a part of the answer.
  let words = progress.message.isEmpty ? String(cString: curl_easy_strerror(code)) : progress.message
  if let malformed = progress.malformed { return failure(.malformedResponse, malformed) }
  if progress.vetoedResend {
    return failure(
      .resetBeforeResponse, "a kept-alive connection closed before any answer; the request may have been read")
  }
  if progress.socketRefused { return failure(.local, "no socket: \(words)") }

  guard progress.reachedRequest else {
    switch code {
    case CURLE_COULDNT_RESOLVE_HOST: return failure(.resolveFailed, words)
    case CURLE_COULDNT_RESOLVE_PROXY, CURLE_PROXY: return failure(.proxyFailed, words)
    case CURLE_OPERATION_TIMEDOUT: return failure(.connectTimedOut, words)
    case CURLE_COULDNT_CONNECT: return failure(.connectRefused, words)
    case CURLE_SSL_CONNECT_ERROR, CURLE_PEER_FAILED_VERIFICATION, CURLE_SSL_CERTPROBLEM, CURLE_SSL_CIPHER,
      CURLE_SSL_CACERT_BADFILE, CURLE_SSL_ISSUER_ERROR, CURLE_SSL_INVALIDCERTSTATUS, CURLE_SSL_PINNEDPUBKEYNOTMATCH,
      CURLE_SSL_CLIENTCERT, CURLE_SSL_ENGINE_INITFAILED, CURLE_SSL_ENGINE_NOTFOUND, CURLE_SSL_CRL_BADFILE:
      return failure(.tlsFailed, words)
    case CURLE_RECV_ERROR, CURLE_SEND_ERROR, CURLE_GOT_NOTHING, CURLE_HTTP_RETURNED_ERROR:
      // Only a proxy answers before the request.
      return failure(.proxyFailed, words)
    default: return failure(.local, words)
    }
  }

  switch code {
  case CURLE_UNSUPPORTED_PROTOCOL, CURLE_WEIRD_SERVER_REPLY, CURLE_BAD_CONTENT_ENCODING, CURLE_HTTP_RETURNED_ERROR:
    return failure(.malformedResponse, "the answer is not HTTP")
  case CURLE_OUT_OF_MEMORY where progress.answerBegan && !progress.headComplete:
    // Libcurl reports an overlong header line like this.
    return failure(.malformedResponse, "a header line is too long")
  case CURLE_RECV_ERROR where progress.headComplete && progress.message.contains("chunk"):
    return failure(.malformedResponse, "a chunk of the body is malformed")
  case CURLE_OUT_OF_MEMORY, CURLE_FAILED_INIT, CURLE_BAD_FUNCTION_ARGUMENT:
    return failure(.local, String(cString: curl_easy_strerror(code)))
  case CURLE_OPERATION_TIMEDOUT:
    return failure(.connectTimedOut, words)
  default: break
  }
  if progress.headComplete {
    return failure(.truncated, "the connection broke inside the answer's body (\(describe(code)))")
  }
  if progress.answerBegan {
    return failure(.resetBeforeResponse, "the connection broke inside the answer's head (\(describe(code)))")
  }
  return failure(.resetBeforeResponse, "the connection broke before any answer (\(describe(code)))")
}

private func describe(_ code: CURLcode) -> String { String(cString: curl_easy_strerror(code)) }
