// On java.net.http.HttpClient, run from source: see uploader.ts. argv is VARIANT URL FILE.
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpClient.Redirect;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.file.Path;

class Upload {
    public static void main(String[] argv) throws Exception {
        var follow = argv[0].equals("file, Redirect.NORMAL") ? Redirect.NORMAL : Redirect.NEVER;
        var client = HttpClient.newBuilder().followRedirects(follow).build();
        var request = HttpRequest.newBuilder(URI.create(argv[1])).PUT(BodyPublishers.ofFile(Path.of(argv[2]))).build();
        var version = System.getProperty("java.version");
        try {
            var status = client.send(request, BodyHandlers.discarding()).statusCode();
            System.out.printf("{\"status\": %d, \"version\": \"%s\"}%n", status, version);
        } catch (java.io.IOException error) {
            System.out.printf("{\"error\": \"%s\", \"version\": \"%s\"}%n", error.getClass().getSimpleName(), version);
        }
    }
}
