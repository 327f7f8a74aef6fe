import ControlProtocol

/// Exit statuses, as `sluice --help` documents them.
enum ExitStatus: Int32, Sendable {
  case failure = 1
  /// The command line or a value in it is wrong.
  case usage = 2
  case notAuthenticated = 3
  case forbidden = 4
  case notFound = 5
  case conflict = 6
  /// The API, the daemon or the database cannot be reached now.
  case unavailable = 7
}

/// Why a command failed, in words that name the cause and the fix.
struct CommandError: Error, CustomStringConvertible {
  var status: ExitStatus
  /// Stable: the API's code, or one of this command's own.
  var code: String
  var message: String
  var details: JSON = .null

  var description: String { message }

  init(_ status: ExitStatus, _ code: String, _ message: String, details: JSON = .null) {
    self.status = status
    self.code = code
    self.message = message
    self.details = details
  }

  /// The same, of a command that had done something before.
  func after(_ done: String) -> CommandError {
    CommandError(status, code, "\(done); then \(message)", details: details)
  }

  /// For standard error under `--json`: the same shape as the API's errors.
  var json: JSON {
    ["status": "error", "error": ["code": .string(code), "message": .string(message), "details": details]]
  }

  /// For people: the message, and the faults of single fields below it.
  var text: String {
    let faults = details.elements.compactMap { fault -> String? in
      guard let message = fault["message"].string else { return nil }
      if let line = fault["line"].integer, let column = fault["column"].integer, let excerpt = fault["excerpt"].string {
        let indented = excerpt.split(separator: "\n").map { "  " + $0 }.joined(separator: "\n")
        return "  line \(line), column \(column): \(message)\n\(indented)"
      }
      let path = fault["path"].string ?? fault["field"].string ?? ""
      return path.isEmpty ? "  \(message)" : "  \(path): \(message)"
    }
    return Terminal.safeLines((["error: \(message)"] + faults).joined(separator: "\n"))
  }
}

extension CommandError {
  static func usage(_ message: String) -> CommandError { CommandError(.usage, "usage", message) }

  /// What is said of an error that may be over when one tries again; nil: it will not.
  static func passing(_ error: any Error) -> String? {
    let error = (error as? ControlError).map(CommandError.init) ?? error as? CommandError
    return error?.status == .unavailable ? error?.message : nil
  }

  /// Of the daemon's answer over its socket.
  init(_ error: ControlError) {
    switch error.code {
    case .invalidArgument, .outOfRange: self.init(.usage, "validation_failed", error.message)
    case .notFound: self.init(.notFound, "not_found", error.message)
    case .alreadyExists: self.init(.conflict, "conflict", error.message)
    case .permissionDenied: self.init(.forbidden, "forbidden", error.message)
    case .unavailable, .deadlineExceeded: self.init(.unavailable, "node_unavailable", error.message)
    case .failedPrecondition, .resourceExhausted: self.init(.failure, "node_refused", error.message)
    default: self.init(.failure, "internal", error.message)
    }
  }

  /// Of the API's answer with an error status.
  init(httpStatus: Int, body: JSON, apiURL: String) {
    let error = body["error"]
    let code = error["code"].string ?? "http_\(httpStatus)"
    let message = error["message"].string
      ?? "\(apiURL) answered \(httpStatus) without saying why: is it really the API of Sluice?"
    let status: ExitStatus
    var remedy = ""
    switch (httpStatus, code) {
    case (_, "node_refused"): status = .failure
    case (401, "second_factor_required"): status = .notAuthenticated
    case (_, "second_factor_setup_required"):
      status = .forbidden
      remedy = ": set it up with `sluice second-factor enable`"
    case (401, _):
      status = .notAuthenticated
      remedy = ": sign in with `sluice login`"
    case (_, "password_change_required"):
      status = .forbidden
      remedy = ": change it with `sluice password change`"
    case (403, _):
      status = .forbidden
      if let scope = error["details"]["required"].string { remedy = " (needs the scope \(scope))" }
    case (404, _): status = .notFound
    case (409, _), (412, _): status = .conflict
    case (400, _), (405, _), (413, _), (415, _), (422, _): status = .usage
    case (429, _), (502...504, _): status = .unavailable
    default: status = .failure
    }
    self.init(status, code, message.contains("`") ? message : message + remedy, details: error["details"])
  }
}
