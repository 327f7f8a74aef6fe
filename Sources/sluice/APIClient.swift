import AsyncHTTPClient
import Foundation
import NIOCore

/// The REST API, as the signed-in account. Renews the access token when it has ended.
struct APIClient {
  /// Without the slash at the end; credentials are kept by it.
  let base: String
  let http: HTTPClient
  let store: CredentialStore

  enum Method: String { case get = "GET", post = "POST", put = "PUT", patch = "PATCH", delete = "DELETE" }

  /// Bytes of an answer; more are an error.
  static let answerByteCountMax = 64 << 20
  private static let pageLimit = 1000

  /// Of an API client, instead of a session.
  let key: String?

  init(base: String, http: HTTPClient, store: CredentialStore, key: String? = nil) {
    self.base = base
    self.http = http
    self.store = store
    self.key = key
  }

  private var notSignedIn: CommandError {
    CommandError(
      .notAuthenticated, "unauthenticated",
      "you are not signed in to \(base): run `sluice login`, or set SLUICE_API_KEY to the key of an API client")
  }

  /// The URL without a path; refuses to send passwords and tokens in the clear beyond this machine.
  static func checked(url text: String, allowsClear: Bool) throws(CommandError) -> String {
    guard let url = URLComponents(string: text), let host = url.host, !host.isEmpty,
      url.scheme == "http" || url.scheme == "https", url.query == nil, url.user == nil,
      url.path.isEmpty || url.path == "/"
    else { throw .usage("\"\(text)\" is no URL of an API: write http://127.0.0.1:8080 or https://host") }
    let bare = host.trimmingPrefix("[").split(separator: "]").first.map(String.init) ?? host
    let isLocal = bare == "localhost" || bare == "::1"
      || (bare.hasPrefix("127.") && bare.allSatisfy { $0.isNumber || $0 == "." })
    guard url.scheme == "https" || isLocal || allowsClear else {
      throw .usage(
        "\(text) would send your password and tokens unencrypted: use https://, or --insecure to do it anyway")
    }
    return text.hasSuffix("/") ? String(text.dropLast()) : text
  }

  /// One request; its answer's envelope. Path segments are to be given as they are, see ``path(_:)``.
  func call(
    _ method: Method, _ path: String, query: [(String, String)] = [], body: JSON? = nil
  ) async throws -> JSON {
    // The same for every try of this call: whatever becomes of the connection, it is done once.
    let idempotencyKey = method == .post ? UUID().uuidString.lowercased() : nil
    if let key { return try await send(method, path, query: query, body: body, token: key, key: idempotencyKey) }
    guard let credentials = try store.credentials(for: base) else { throw notSignedIn }
    var token = credentials.accessToken
    if credentials.expiresAt < Date(timeIntervalSinceNow: 10) { token = try await renewed(after: token) }
    do {
      return try await send(method, path, query: query, body: body, token: token, key: idempotencyKey)
    } catch let error as CommandError where error.status == .notAuthenticated {
      token = try await renewed(after: token)
      return try await send(method, path, query: query, body: body, token: token, key: idempotencyKey)
    }
  }

  /// One request whose good answer is no envelope but bytes, given to `body` as they come, for as long as it takes.
  func download(
    _ method: Method, _ path: String, query: [(String, String)] = [], headers: [(String, String)] = [],
    body content: JSON? = nil, _ body: (ByteBufferView) throws -> Void
  ) async throws {
    var request = try await authorized(method, path, query)
    for (name, value) in headers { request.headers.add(name: name, value: value) }
    if let content {
      request.headers.add(name: "Content-Type", value: "application/json")
      request.body = .bytes(ByteBuffer(string: content.text(pretty: false)))
    }
    let response: HTTPClientResponse
    do { response = try await http.execute(request, deadline: .distantFuture) } catch { throw unavailable(error) }
    guard response.status.code == 200 else {
      let answer: ByteBuffer
      do { answer = try await response.body.collect(upTo: Self.answerByteCountMax) } catch { throw unavailable(error) }
      throw CommandError(
        httpStatus: Int(response.status.code), body: JSON.parse(answer.readableBytesView) ?? .null, apiURL: base)
    }
    var pieces = response.body.makeAsyncIterator()
    while true {
      let piece: ByteBuffer?
      do { piece = try await pieces.next() } catch { throw unavailable(error) }
      guard let piece else { return }
      try body(piece.readableBytesView)
    }
  }

  /// A request whose body can't be sent twice.
  func authorized(_ method: Method, _ path: String, _ query: [(String, String)]) async throws -> HTTPClientRequest {
    // The session is checked, and renewed where it has to be, by a small call.
    if key == nil { _ = try await call(.get, "/auth/me") }
    guard let token = try key ?? store.credentials(for: base)?.accessToken else { throw notSignedIn }
    return request(method, url(path, query), token: token)
  }

  private func request(_ method: Method, _ url: String, token: String?) -> HTTPClientRequest {
    var request = HTTPClientRequest(url: url)
    request.method = .RAW(value: method.rawValue)
    request.headers.add(name: "User-Agent", value: "sluice")
    if let token { request.headers.add(name: "Authorization", value: "Bearer \(token)") }
    // A command means what it says, whatever is there; an API that asks for the header shall know.
    if [.put, .patch, .delete].contains(method) { request.headers.add(name: "If-Match", value: "*") }
    return request
  }

  /// A list, page by page.
  ///
  /// - Parameter max: No more than so many of its first elements.
  func list(_ path: String, query: [(String, String)] = [], max: Int = .max) async throws -> [JSON] {
    var elements: [JSON] = []
    var cursor: [(String, String)] = []
    while true {
      let page = [("limit", "\(min(Self.pageLimit, max - elements.count))")] + cursor
      let answer = try await call(.get, path, query: query + page)
      elements += answer["data"].elements
      guard elements.count < max, let next = answer["meta"]["next_cursor"].string else { return elements }
      cursor = [("cursor", next)]
    }
  }

  /// Signs in or changes the password: an answer with tokens, which are kept.
  func beginSession(_ path: String, _ body: JSON, token: String? = nil) async throws -> JSON {
    let answer = try await send(.post, path, body: body, token: token)["data"]
    try await store.exclusively { try keep(answer) }
    return answer
  }

  /// A request that needs no session and begins none.
  func open(_ path: String, _ body: JSON) async throws {
    _ = try await send(.post, path, body: body, token: nil)
  }

  /// Ends the session at the API and here; here in any case.
  func endSession() async throws {
    guard let credentials = try store.credentials(for: base) else { return }
    do {
      _ = try await call(.post, "/auth/logout", body: ["refresh_token": .string(credentials.refreshToken)])
    } catch {
      try? await forgetSession()
      throw error
    }
    try await forgetSession()
  }

  /// Here, not at the API.
  func forgetSession() async throws {
    try await store.exclusively { try store.set(nil, for: base) }
  }

  private func keep(_ answer: JSON) throws(CommandError) {
    guard let access = answer["access_token"].string, let refresh = answer["refresh_token"].string else {
      throw CommandError(.failure, "bad_answer", "\(base) answered without tokens: is it really the API of Sluice?")
    }
    let lifetime = TimeInterval(answer["expires_in"].integer ?? 60)
    try store.set(
      Credentials(
        email: answer["user"]["email"].string ?? "", accessToken: access, refreshToken: refresh,
        expiresAt: Date(timeIntervalSinceNow: lifetime)), for: base)
  }

  /// A new access token in place of `token`, which another command may have renewed already.
  private func renewed(after token: String) async throws -> String {
    try await store.exclusively {
      guard let credentials = try store.credentials(for: base) else {
        throw CommandError(.notAuthenticated, "unauthenticated", "you have signed out: run `sluice login`")
      }
      if credentials.accessToken != token { return credentials.accessToken }
      do {
        let body: JSON = ["refresh_token": .string(credentials.refreshToken)]
        try keep(try await send(.post, "/auth/refresh", body: body, token: nil)["data"])
      } catch let error as CommandError where error.status == .notAuthenticated {
        try store.set(nil, for: base)
        throw CommandError(
          .notAuthenticated, error.code,
          "your session has ended: run `sluice login`; what runs by itself takes the key of an API client, SLUICE_API_KEY")
      }
      return try store.credentials(for: base)?.accessToken ?? ""
    }
  }

  /// A path of segments, each encoded.
  static func path(_ segments: String...) -> String {
    segments.map { "/" + ($0.addingPercentEncoding(withAllowedCharacters: unreserved) ?? "") }.joined()
  }

  private static let unreserved = CharacterSet(
    charactersIn: "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~")

  private func url(_ path: String, _ query: [(String, String)]) -> String {
    guard !query.isEmpty else { return "\(base)/api/v1\(path)" }
    let pairs = query.map { key, value in
      "\(key)=\(value.addingPercentEncoding(withAllowedCharacters: Self.unreserved) ?? "")"
    }
    return "\(base)/api/v1\(path)?" + pairs.joined(separator: "&")
  }

  private func send(
    _ method: Method, _ path: String, query: [(String, String)] = [], body: JSON? = nil, token: String?,
    key: String? = nil
  ) async throws -> JSON {
    let url = url(path, query)
    var request = request(method, url, token: token)
    request.headers.add(name: "Accept", value: "application/json")
    request.headers.add(name: "Accept-Encoding", value: "gzip")
    if let key { request.headers.add(name: "Idempotency-Key", value: key) }
    if let body {
      request.headers.add(name: "Content-Type", value: "application/json")
      request.body = .bytes(ByteBuffer(string: body.text(pretty: false)))
    }
    let status: Int
    let answer: ByteBuffer
    do {
      let response = try await execute(request, mayRepeat: key != nil || method == .get)
      status = Int(response.status.code)
      answer = try await response.body.collect(upTo: Self.answerByteCountMax)
    } catch {
      throw unavailable(error)
    }
    let envelope = JSON.parse(answer.readableBytesView) ?? .null
    guard (200..<300).contains(status) else {
      throw CommandError(httpStatus: status, body: envelope, apiURL: base)
    }
    guard envelope["status"].string == "success" else {
      throw CommandError(
        .failure, "bad_answer", "\(url) answered something else than the API does: is \(base) the API of Sluice?")
    }
    return envelope
  }

  /// Once more where the server closed the connection, as it does when it restarts, and where that does no harm; and what only
  /// reads, when the API says that it may come again: a long list is many requests.
  private func execute(_ request: HTTPClientRequest, mayRepeat: Bool) async throws -> HTTPClientResponse {
    for _ in 0..<Self.patience {
      let response = try await executeOnce(request, mayRepeat: mayRepeat)
      guard response.status.code == 429, request.method == .GET,
        let seconds = response.headers.first(name: "Retry-After").flatMap({ Int64($0) }), (0...10).contains(seconds)
      else { return response }
      _ = try await response.body.collect(upTo: Self.answerByteCountMax)
      try await Task.sleep(for: .seconds(max(1, seconds)))
    }
    return try await executeOnce(request, mayRepeat: mayRepeat)
  }

  /// Times that a request waits for its turn.
  private static let patience = 5

  private func executeOnce(_ request: HTTPClientRequest, mayRepeat: Bool) async throws -> HTTPClientResponse {
    do { return try await http.execute(request, timeout: .seconds(60)) } catch let error as HTTPClientError
      where error == .remoteConnectionClosed && mayRepeat
    {
      return try await http.execute(request, timeout: .seconds(60))
    }
  }

  /// What an exchange that failed is told as.
  func unavailable(_ error: any Error) -> any Error {
    if error is CancellationError || error is CommandError { return error }
    if error is NIOTooManyBytesError {
      return CommandError(
        .failure, "answer_too_large", "the API's answer is longer than \(Self.answerByteCountMax >> 20) MiB: ask for less of it")
    }
    return CommandError(
      .unavailable, "api_unavailable",
      "cannot reach the API at \(base): \(Self.reason(error)). Is sluice-api running (systemctl status sluice-api)? "
        + "--api or SLUICE_API names another address")
  }

  private static func reason(_ error: any Error) -> String {
    if let error = error as? HTTPClientError {
      if [.connectTimeout, .deadlineExceeded, .readTimeout].contains(error) { return "no answer in time" }
      if error == .remoteConnectionClosed { return "it closed the connection" }
    }
    let text = "\(error)"
    return text.contains("refused") || text.contains("errno: 111") ? "connection refused" : text
  }
}
