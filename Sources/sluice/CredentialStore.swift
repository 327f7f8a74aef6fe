import Foundation
import Glibc

/// The tokens of one signed-in account at one API.
struct Credentials: Hashable, Codable {
  var email: String
  var accessToken: String
  var refreshToken: String
  /// When the access token ends.
  var expiresAt: Date

  enum CodingKeys: String, CodingKey {
    case email
    case accessToken = "access_token"
    case refreshToken = "refresh_token"
    case expiresAt = "expires_at"
  }
}

/// `$XDG_CONFIG_HOME/sluice/credentials.json`, mode 0600: credentials by the API's URL.
struct CredentialStore {
  /// Nil: nothing says where. Who comes with a key needs none.
  private let place: URL?

  var folder: URL {
    get throws(CommandError) {
      guard let place else {
        throw CommandError(
          .failure, "no_home",
          "neither XDG_CONFIG_HOME nor HOME names a folder for the credentials; the key of an API client, SLUICE_API_KEY, needs none")
      }
      return place
    }
  }

  private var file: URL { get throws(CommandError) { try folder.appending(path: "credentials.json") } }

  init(folder: URL) { place = folder }

  init(environment: [String: String]) {
    if let base = environment["XDG_CONFIG_HOME"], base.hasPrefix("/") {
      place = URL(filePath: base).appending(path: "sluice")
    } else if let home = environment["HOME"], home.hasPrefix("/") {
      place = URL(filePath: home).appending(path: ".config/sluice")
    } else {
      place = nil
    }
  }

  func credentials(for api: String) throws(CommandError) -> Credentials? { try read()[api] }

  /// Replaces the credentials of an API; nil forgets them.
  func set(_ credentials: Credentials?, for api: String) throws(CommandError) {
    var all = try read()
    all[api] = credentials
    try write(all)
  }

  /// Runs `body` while no other command does the same. A refresh token works once: two commands that use the same one
  /// at the same time would end the session.
  func exclusively<Result>(_ body: () async throws -> Result) async throws -> Result {
    try makeFolder()
    let path = try folder.appending(path: "credentials.lock").path
    let descriptor = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw failure("cannot open \(path)") }
    defer { close(descriptor) }
    let deadline = ContinuousClock.now + .seconds(30)
    while flock(descriptor, LOCK_EX | LOCK_NB) != 0 {
      guard errno == EWOULDBLOCK || errno == EINTR else { throw failure("cannot lock \(path)") }
      guard ContinuousClock.now < deadline else {
        throw CommandError(.unavailable, "credentials_locked", "another sluice command holds \(path) since 30 s")
      }
      try await Task.sleep(for: .milliseconds(20))
    }
    return try await body()
  }

  private func read() throws(CommandError) -> [String: Credentials] {
    let file = try file
    var status = stat()
    guard stat(file.path, &status) == 0 else {
      if errno == ENOENT { return [:] }
      throw failure("cannot read \(file.path)")
    }
    guard status.st_mode & 0o077 == 0 else {
      throw CommandError(
        .failure, "credentials_exposed",
        "others can read \(file.path), which holds your tokens: chmod 600 it, and sign in again if in doubt")
    }
    let decoder = JSONDecoder()
    decoder.dateDecodingStrategy = .iso8601
    do {
      return try decoder.decode([String: Credentials].self, from: try Data(contentsOf: file))
    } catch {
      throw CommandError(
        .failure, "credentials_damaged", "\(file.path) cannot be understood: delete it and sign in again")
    }
  }

  /// Into a new file that takes the place of the old one, so that a reader never sees half of it.
  private func write(_ all: [String: Credentials]) throws(CommandError) {
    try makeFolder()
    let (folder, file) = (try folder, try file)
    let encoder = JSONEncoder()
    encoder.dateEncodingStrategy = .iso8601
    encoder.outputFormatting = [.sortedKeys, .prettyPrinted, .withoutEscapingSlashes]
    let fresh = folder.appending(path: ".credentials-\(getpid())-\(UInt32.random(in: 0 ... .max))").path
    let descriptor = open(fresh, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw failure("cannot write \(fresh)") }
    do {
      let handle = FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
      try handle.write(contentsOf: encoder.encode(all))
      try handle.synchronize()
    } catch {
      unlink(fresh)
      throw CommandError(.failure, "credentials_unwritable", "cannot write \(file.path): \(error.localizedDescription)")
    }
    guard rename(fresh, file.path) == 0 else {
      let reason = failure("cannot replace \(file.path)")
      unlink(fresh)
      throw reason
    }
  }

  private func makeFolder() throws(CommandError) {
    let folder = try folder
    do {
      try FileManager.default.createDirectory(
        at: folder, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
    } catch {
      throw CommandError(
        .failure, "credentials_unwritable", "cannot make the folder \(folder.path): \(error.localizedDescription)")
    }
  }

  private func failure(_ what: String) -> CommandError {
    CommandError(.failure, "credentials_unwritable", "\(what): \(String(cString: strerror(errno)))")
  }
}
