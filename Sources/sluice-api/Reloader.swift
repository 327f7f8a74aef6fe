import Logging
import RESTAPI
import ServiceLifecycle
import UnixSignals

/// Takes a new certificate into use: at SIGHUP, and where the file has changed, looked at twice a minute. Connections
/// that are open go on; without TLS the signal changes nothing.
struct Reloader: Service {
  let certificates: TLSCertificates?
  let logger: Logger

  private static let period = Duration.seconds(30)

  func run() async throws {
    try? await cancelWhenGracefulShutdown {
      try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask { await onSignal() }
        group.addTask { try await watch() }
        try await group.waitForAll()
      }
    }
  }

  private func onSignal() async {
    for await _ in await UnixSignalsSequence(trapping: .sighup) {
      guard let certificates else {
        logger.notice("SIGHUP: there is no certificate to read again")
        continue
      }
      report { () throws(TLSFilesError) in
        try certificates.reload()
        return true
      }
    }
  }

  private func watch() async throws {
    guard let certificates else { return }
    while true {
      try await Task.sleep(for: Self.period)
      report { () throws(TLSFilesError) in try certificates.reloadIfChanged() }
    }
  }

  private func report(_ reload: () throws(TLSFilesError) -> Bool) {
    do throws(TLSFilesError) {
      guard try reload() else { return }
      logger.notice("certificate read again", metadata: ["expires": "\(certificates?.expiresAt ?? 0)"])
    } catch {
      logger.error("the certificate stays as it was", metadata: ["error": "\(error)"])
    }
  }
}
